"""U-Net decoder over an encoder's maps, and the single-view base network."""

import torch
import torch.nn.functional as F
from torch import nn

from mlseg_dist.config import CLASSES, ModelConfig
from mlseg_dist.model.encoder import STRIDES, Encoder, conv_block


class Decoder(nn.Module):
    """From the deepest map to stride 1: upsample x2, concatenate the skip, two 3x3 convolutions.

    skips: channels of the encoder maps at strides 2, 4, … up to half the deepest one's stride.
    channels: of the stages, deepest first; one stage more than there are skips (the last has none).
    """

    def __init__(self, deepest: int, skips: tuple[int, ...], channels: tuple[int, ...], bn_momentum: float) -> None:
        super().__init__()
        stages = []
        width = deepest
        for skip, out in zip((*reversed(skips), 0), channels, strict=True):
            stages.append(
                nn.Sequential(conv_block(width + skip, out, 3, bn_momentum), conv_block(out, out, 3, bn_momentum))
            )
            width = out
        self.stages = nn.ModuleList(stages)

    def forward(self, deepest: torch.Tensor, skips: list[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of every stage, the last at stride 1."""
        x, maps = deepest, []
        for stage, skip in zip(self.stages, [*reversed(skips), None], strict=True):
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
            x = stage(x if skip is None else torch.cat([x, skip], dim=1))
            maps.append(x)
        return maps


class UNet(nn.Module):
    """The base network: one encoder, one decoder, one head on the grid of its view (SPEC §2)."""

    stride = 32
    """Sides of inputs are multiples of this, px."""

    def __init__(self, config: ModelConfig, bn_momentum: float = 0.1) -> None:
        super().__init__()
        self.view = config.view
        self.encoder = Encoder(config.encoder, STRIDES[-1], bn_momentum)
        channels = self.encoder.channels
        self.decoder = Decoder(channels[-1], channels[:-1], config.decoder_channels, bn_momentum)
        self.head = nn.Conv2d(config.decoder_channels[-1], len(CLASSES), 1)

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views (B, 3, H, W) -> {head: float32 logits (B, 3, H, W)}; head `high` or `low`, the view it sees."""
        maps = self.encoder(high_BCHW if self.view == "high" else low_BCHW)
        logits = self.head(self.decoder(maps[-1], maps[:-1])[-1]).float()
        return {self.view: logits}
