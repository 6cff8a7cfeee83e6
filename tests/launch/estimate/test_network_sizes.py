"""The sizes of networks that are known without building them are those of the networks."""

from pathlib import Path

from launch.config import CampaignConfig, load_campaign
from launch.estimate.network_sizes import KNOWN, count, parameters, size_key
from mlseg_dist.config import ModelConfig

CONFIGS = Path(__file__).parents[3] / "configs"


def networks() -> dict[str, tuple[ModelConfig, int]]:
    """Those of all campaign files of the project."""
    files = [path for path in CONFIGS.glob("*.yaml") if "\nname:" in path.read_text()]
    campaigns: list[CampaignConfig] = [load_campaign(path) for path in files]
    pairs = [(step.model, config.shards.ratio) for config in campaigns for step in config.steps]
    return {size_key(*pair): pair for pair in pairs}


def test_each_network_of_our_configs_is_known_by_its_true_size():
    """Where this fails, put the counted sizes into KNOWN."""
    assert {key: count(*pair) for key, pair in networks().items()} == KNOWN


def test_another_network_is_counted():
    model, ratio = networks()["6b4a9377ee02abfc"]
    wider = model.model_copy(update={"encoder": model.encoder.model_copy(update={"width": 2 * model.encoder.width})})
    assert parameters(wider, ratio) > parameters(model, ratio)
