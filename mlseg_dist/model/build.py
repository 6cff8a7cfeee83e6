"""One way to get a network; and to fold its BatchNorms into the convolutions before them, for inference."""

import copy
import itertools
from collections.abc import Iterable
from typing import TypeVar

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mlseg_core.randomness import integer_seed
from mlseg_dist.config import ModelConfig
from mlseg_dist.model.deeplab import DeepLab
from mlseg_dist.model.hooknet import HookNet
from mlseg_dist.model.munet import MUNet
from mlseg_dist.model.unet import UNet

Network = UNet | MUNet | HookNet | DeepLab
"""module(high, low) -> {head: logits}: views (B, 3, S, S); logits float32, (B, 3, S, S) or their centre."""


def build_model(config: ModelConfig, ratio: int = 4, bn_momentum: float = 0.1, seed: int | None = None) -> Network:
    """The network of a step. ratio: low µm/px over high µm/px. seed: of the random weights; None leaves torch's generator be."""
    if seed is None:
        return _build(config, ratio, bn_momentum)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(integer_seed(seed, "weights"))
        return _build(config, ratio, bn_momentum)


def _build(config: ModelConfig, ratio: int, bn_momentum: float) -> Network:
    if config.kind == "munet":
        return MUNet(config, ratio, bn_momentum)
    if config.kind == "hooknet":
        return HookNet(config, ratio, bn_momentum)
    return DeepLab(config, bn_momentum) if config.kind == "deeplab" else UNet(config, bn_momentum)


def output_head(heads: Iterable[str]) -> str:
    """The head that answers: `merged` of the m-UNet, `high` of HookNet; the only one of a base, named by the view it sees."""
    names = list(heads)
    return next((name for name in ("merged", "high") if name in names), names[0])


def view_of(head: str) -> str:
    """The view on whose grid a head lies, `high` or `low`."""
    return "low" if head == "low" else "high"


def answering_view(model: Network) -> str:
    """The view on whose grid a network answers: view_of(output_head(…)) before there are logits."""
    return model.view if isinstance(model, UNet | DeepLab) else "high"


def channels_last(model: nn.Module) -> None:
    """Lay the convolutions' weights out for speed (depthwise convolutions are memory-bound). In place."""
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


_PAIRS = (("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
"""Convolutions and their norms in MONAI's EfficientNet; elsewhere they follow each other in a Sequential."""


Net = TypeVar("Net", bound=nn.Module)


def fold_norms(model: Net) -> Net:
    """A copy in evaluation mode that gives the same answers to rounding, with no BatchNorm that follows a convolution."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            names = list(module._modules)
            pairs = list(itertools.pairwise(names))
        else:
            pairs = [pair for pair in _PAIRS if hasattr(module, pair[0])]
        for conv_name, norm_name in pairs:
            conv, norm = getattr(module, conv_name), getattr(module, norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return model
