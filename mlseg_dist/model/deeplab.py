"""DeepLabV3 (Chen et al. 2017) on one view: EfficientNet features at stride 16, atrous spatial pyramid pooling."""

import torch
from torch import nn

from mlseg_dist.config import CLASSES, ModelConfig
from mlseg_dist.model.blocks import BN_EPS, conv_block, upsample
from mlseg_dist.model.encoder import Encoder
from mlseg_dist.model.grid import Grid, Meeting, after
from mlseg_dist.sides import fits

STRIDE = 16
CHANNELS = 256
DILATIONS = (6, 12, 18)
"""Dilations of the 3x3 convolutions at stride 16, cells."""


class PyramidPooling(nn.Module):
    """1x1, three dilated 3x3 convolutions and the view's mean, side by side; a 1x1 convolution joins them. Same size."""

    def __init__(self, in_channels: int, bn_momentum: float) -> None:
        super().__init__()
        self.point = conv_block(in_channels, CHANNELS, 1, bn_momentum)
        self.dilated = nn.ModuleList(_dilated(in_channels, dilation, bn_momentum) for dilation in DILATIONS)
        # No norm: over one value a sample it would take a batch of one apart.
        self.view = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(in_channels, CHANNELS, 1), nn.SiLU())
        self.join = conv_block((len(DILATIONS) + 2) * CHANNELS, CHANNELS, 1, bn_momentum)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = self.view(x).expand(-1, -1, *x.shape[-2:])
        return self.join(torch.cat([self.point(x), *(branch(x) for branch in self.dilated), mean], dim=1))


class DeepLab(nn.Module):
    """The logits at stride 16 are upsampled at once (bilinear), as in version 3."""

    def __init__(self, config: ModelConfig, bn_momentum: float = 0.1) -> None:
        super().__init__()
        self.config, self.view = config, config.view
        self.encoder = Encoder(config.encoder, STRIDE, bn_momentum)
        self.pyramid = PyramidPooling(self.encoder.channels[-1], bn_momentum)
        self.head = nn.Conv2d(CHANNELS, len(CLASSES), 1)

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views (B, 3, H, W) -> {head: float32 logits (B, 3, H, W)}; head `high` or `low`, the view it sees."""
        maps = self.encoder(high_BCHW if self.view == "high" else low_BCHW)
        return {self.view: upsample(self.head(self.pyramid(maps[-1])), STRIDE).float()}

    def fits(self, side: int) -> bool:
        """Whether views of this side, px, can be taken."""
        return fits(self.config, 1, side)

    def meetings(self, side: int) -> list[Meeting]:
        """Where the pyramid's branches meet, and where the logits meet the view's pixels; px of its view."""
        deep = self.encoder.grids(Grid())[-1]
        dilated = {
            f"dilated {d}": after(branch, deep) for d, branch in zip(DILATIONS, self.pyramid.dilated, strict=True)
        }
        at_stride = {name: grid.from_centre(side, 1) for name, grid in ({"point": deep} | dilated).items()}
        out = {"logits": deep.upsampled(STRIDE), "pixels": Grid()}
        placed = {name: grid.from_centre(side, 1) for name, grid in out.items()}
        return [Meeting("pyramid", at_stride), Meeting(self.view, placed)]


def _dilated(in_channels: int, dilation: int, bn_momentum: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, CHANNELS, 3, padding=dilation, dilation=dilation, bias=False),
        nn.BatchNorm2d(CHANNELS, eps=BN_EPS, momentum=bn_momentum),
        nn.SiLU(),
    )
