"""How large networks are, without loading torch for those of our own configs: `plan` and `preflight` answer in a second.

In: a network's config. Out: its parameters and buffers, which decide the size of checkpoints.
"""

from functools import lru_cache

from mlseg_core.files import fingerprint
from mlseg_dist.config import ModelConfig

KNOWN = {
    "6b4a9377ee02abfc": 304_730,  # demo.yaml, base
    "5f7c32c2e5befaf5": 421_422,  # demo.yaml, master-1 to master-5
    "acdf1ba155fd2b16": 5_876_105,  # paper.yaml, base
    "5d2525b8ca23f483": 24_212_751,  # paper.yaml, master-1 to master-5
    "373448d516a5213b": 5_783_128,  # recommended.yaml, base
    "9869bab523009f43": 23_759_021,  # recommended.yaml, master-1 to master-5
    "fb50953cda957efa": 2_033_321,  # paper-deeplab.yaml, base
    "42e798d4c18f9114": 5_206_377,  # paper-deeplab.yaml, master-1 to master-5
    "3c1351ce27212099": 70_247_730,  # paper-hooknet.yaml, master-1 to master-5
}
"""size_key -> parameters and buffers; tests/launch/estimate/test_network_sizes.py counts them again."""


def size_key(model: ModelConfig, ratio: int) -> str:
    """Names a network in KNOWN."""
    return fingerprint([model.model_dump(mode="json"), ratio])[:16]


def parameters(model: ModelConfig, ratio: int) -> int:
    """Parameters and buffers of a network; one that is not KNOWN is built, without memory, by torch (seconds to load).

    ratio: low µm/px over high µm/px.
    """
    known = KNOWN.get(size_key(model, ratio))
    return count(model, ratio) if known is None else known


@lru_cache
def count(model: ModelConfig, ratio: int) -> int:
    """The same, always by building it."""
    import torch

    from mlseg_dist.model import build_model

    with torch.device("meta"):
        network = build_model(model, ratio)
    return sum(tensor.numel() for tensor in network.state_dict().values())
