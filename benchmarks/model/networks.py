"""The rows of the model benchmark: networks of two views, (B, 3, S, S) each -> {head: float32 logits}."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from monai.networks.nets import FlexibleUNet
from torch import nn

from mlseg_dist.config import CLASSES, DecoderConfig, EncoderConfig, HeadWeights, HookNetConfig, LossConfig, ModelConfig
from mlseg_dist.model import build_model
from mlseg_dist.model.encoder import Encoder
from mlseg_dist.model.hooknet import HookNet

U_NET = (256, 128, 64, 32, 16)
"""Channels of a plain U-Net's decoder, as MONAI has them."""
RATIO = 4
"""Low µm/px over high µm/px."""


@dataclass(frozen=True)
class Scale:
    """How large the networks are. encoder: name of the EfficientNet, or `custom`, which is B0 with its width and depth times
    `custom`; filters: of HookNet's first level."""

    encoder: str = "b4"
    filters: int = 64
    custom: float = 1.0

    @property
    def encoder_config(self) -> EncoderConfig:
        sizes = {"width": self.custom, "depth": self.custom} if self.encoder == "custom" else {}
        return EncoderConfig.model_validate({"name": self.encoder, **sizes})


PUBLISHED = Scale()


class TwoUNets(nn.Module):
    """One of MONAI's U-Nets a view; nothing between them."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        backbone = f"efficientnet-{scale.encoder}"
        self.high, self.low = (FlexibleUNet(3, len(CLASSES), backbone, pretrained=False) for _ in range(2))

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"high": self.high(high_BCHW).float(), "low": self.low(low_BCHW).float()}


class TwoEncoders(nn.Module):
    """The m-UNet's encoders without what comes after; their deepest maps in place of logits."""

    def __init__(self, scale: Scale) -> None:
        super().__init__()
        config = scale.encoder_config
        self.high, self.low = Encoder(config, 16), Encoder(config, 32)

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"high": self.high(high_BCHW)[-1], "low": self.low(low_BCHW)[-1]}


def _munet(**decoder: Any) -> Callable[[Scale], nn.Module]:
    def build(scale: Scale) -> nn.Module:
        return build_model(ModelConfig(encoder=scale.encoder_config, decoder=DecoderConfig(**decoder)), RATIO)

    return build


def _hooknet(padding: str) -> Callable[[Scale], nn.Module]:
    def build(scale: Scale) -> nn.Module:
        hooknet = HookNetConfig.model_validate({"filters": scale.filters, "padding": padding})
        return HookNet(ModelConfig(kind="hooknet", hooknet=hooknet), RATIO)

    return build


_LOSS = LossConfig()
_TARGET_ONLY = LossConfig(heads=HeadWeights(low=0.0))
"""HookNet's paper: the context branch has no loss of its own."""


@dataclass(frozen=True)
class Row:
    """title: in the table. loss: None where there are no logits (then the mean square of what comes out)."""

    title: str
    build: Callable[[Scale], nn.Module]
    loss: LossConfig | None = _LOSS


ROWS: dict[str, Row] = {
    "ours": Row("**ours**, the default: light decoder, wide, logits from stride 4", _munet()),
    "ours-plain": Row("ours, plain decoder", _munet(kind="plain", stride=1, channels=U_NET)),
    "ours-separable": Row("ours, separable decoder", _munet(kind="separable", stride=1, channels=U_NET)),
    "ours-light": Row("ours, light decoder", _munet(kind="light", stride=1, channels=U_NET)),
    "ours-light-4": Row("ours, light decoder, logits from stride 4", _munet(kind="light", stride=4, channels=U_NET)),
    "hooknet-valid": Row("HookNet, valid convolutions", _hooknet("valid"), _TARGET_ONLY),
    "hooknet-same": Row("HookNet, same convolutions", _hooknet("same"), _TARGET_ONLY),
    "two-unets": Row("two plain U-Net-B4s (MONAI FlexibleUNet)", TwoUNets),
    "encoders": Row("our two encoders alone", TwoEncoders, None),
}


def fitting_side(model: nn.Module, side: int) -> int:
    """The largest side, px, up to `side` that the network takes."""
    fits = getattr(model, "fits", None)
    found = next((s for s in range(side, 0, -1) if fits is None or fits(s)), None)
    if found is None:
        raise ValueError(f"{type(model).__name__} takes no views of {side} px or less")
    return found
