"""One way to get a network."""

from collections.abc import Iterable

import torch
from torch import nn

from mlseg_core.randomness import integer_seed
from mlseg_dist.config import ModelConfig
from mlseg_dist.model.munet import MUNet
from mlseg_dist.model.unet import UNet


def build_model(config: ModelConfig, ratio: int = 4, bn_momentum: float = 0.1, seed: int | None = None) -> UNet | MUNet:
    """The network of a step. ratio: low µm/px over high µm/px. seed: of the random weights; None leaves torch's generator be."""
    if seed is None:
        return _build(config, ratio, bn_momentum)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(seed, "weights"))
        return _build(config, ratio, bn_momentum)


def _build(config: ModelConfig, ratio: int, bn_momentum: float) -> UNet | MUNet:
    return UNet(config, bn_momentum) if config.kind == "unet" else MUNet(config, ratio, bn_momentum)


def output_head(heads: Iterable[str]) -> str:
    """The head that answers: `merged` of the m-UNet; the only one of a base U-Net, named by the view it sees."""
    names = list(heads)
    return "merged" if "merged" in names else names[0]


def view_of(head: str) -> str:
    """The view on whose grid a head lies, `high` or `low`."""
    return "low" if head == "low" else "high"


def channels_last(model: nn.Module) -> None:
    """Lay the convolutions' weights out for speed (depthwise convolutions are memory-bound). In place."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
