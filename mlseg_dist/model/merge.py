"""Hooks of the m-UNet: maps of the low decoder onto a map of the high branch (figure 10 of the paper).

Level ratio r = low µm/px over high µm/px. High stride h and low stride h / r have cells of the same size in µm, and the
centre 1/r of the low map lies cell by cell on the high map.
"""

import torch
from torch import nn

from mlseg_dist.config import ModelConfig
from mlseg_dist.model.blocks import cells_before, centre, conv_block
from mlseg_dist.model.grid import Grid


class Compress(nn.Module):
    """The whole low field onto the high grid: space-to-depth x2, 1x1 convolution, norm, act; log2(r) times.

    By intent a point at distance d from the centre arrives at d / r: the low field is folded onto the high one.
    """

    def __init__(self, in_channels: int, out_channels: int, ratio: int, bn_momentum: float) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        width = in_channels
        while ratio > 1:
            steps += [nn.PixelUnshuffle(2), conv_block(4 * width, out_channels, 1, bn_momentum)]
            width, ratio = out_channels, ratio // 2
        self.steps = nn.Sequential(*steps)

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return self.steps(low)


class Crop(nn.Module):
    """The centre of the low map, where the high view lies (as HookNet), then a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int, bn_momentum: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.project = conv_block(in_channels, out_channels, 1, bn_momentum)

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return self.project(centre(low, self.ratio))

    def grid(self, low: Grid, cells: int) -> Grid:
        """The grid of the cropped map, in the low view. cells: a side of the low map."""
        return low.cropped(cells_before(cells, self.ratio))


MERGES: dict[str, tuple[type[Compress] | type[Crop], ...]] = {
    "compress": (Compress,),
    "crop": (Crop,),
    "both": (Compress, Crop),
}


class Merge(nn.Module):
    """The low map by one or two paths, concatenated to the high map, then two 1x1 convolutions (figure 10)."""

    def __init__(self, config: ModelConfig, low: int, high: int, ratio: int, bn_momentum: float) -> None:
        super().__init__()
        out = config.merge_channels
        kinds = MERGES[config.merge]
        self.paths = nn.ModuleList(kind(low, out, ratio, bn_momentum) for kind in kinds)
        self.mix = nn.Sequential(
            conv_block(high + out * len(kinds), high, 1, bn_momentum), conv_block(high, high, 1, bn_momentum)
        )

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        return self.mix(torch.cat([high, *(path(low) for path in self.paths)], dim=1))

    def grids(self, low: Grid, cells: int) -> dict[str, Grid]:
        """Path -> grid in the low view, of the paths that keep places (`compress` folds)."""
        crops = [path for path in self.paths if isinstance(path, Crop)]
        return {"crop": crops[0].grid(low, cells)} if crops else {}
