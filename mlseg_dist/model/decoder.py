"""From an encoder's maps back to a finer grid, in stages: plain (U-Net), separable, or light."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import nn

from mlseg_dist.config import DecoderConfig
from mlseg_dist.model.blocks import conv_block, separable_block, upsample
from mlseg_dist.model.grid import Grid, after

DECODER_STRIDES = (16, 8, 4, 2, 1)
"""Strides of the maps that stages can end on, in the order of DecoderConfig.channels."""


class ConcatStage(nn.Module):
    """Upsample x2, concatenate the skip, two convolutions (U-Net)."""

    def __init__(self, deep: int, skip: int, out: int, bn_momentum: float, separable: bool) -> None:
        super().__init__()
        if separable:
            self.convs = nn.Sequential(
                separable_block(deep + skip, out, bn_momentum), separable_block(out, out, bn_momentum)
            )
        else:
            self.convs = nn.Sequential(
                conv_block(deep + skip, out, 3, bn_momentum), conv_block(out, out, 3, bn_momentum)
            )

    def forward(self, deep: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        x = upsample(deep, 2)
        return self.convs(x if skip is None else torch.cat([x, skip], dim=1))


class SumStage(nn.Module):
    """Project both to `out` channels, the deep map before it is upsampled; add; one separable convolution.

    1x1 convolutions commute with upsampling and split over a concatenation, so this is the concatenating stage's first
    1x1 at a quarter of its price, and nothing wider than `out` is ever written at the finer stride.
    """

    def __init__(self, deep: int, skip: int, out: int, bn_momentum: float) -> None:
        super().__init__()
        self.from_deep = conv_block(deep, out, 1, bn_momentum, act=False)
        self.from_skip = conv_block(skip, out, 1, bn_momentum, act=False) if skip else None
        self.act = nn.SiLU()
        self.convs = separable_block(out, out, bn_momentum)

    def forward(self, deep: torch.Tensor, skip: torch.Tensor | None) -> torch.Tensor:
        x = upsample(self.from_deep(deep), 2)
        if self.from_skip is not None:
            x = x + self.from_skip(skip)
        return self.convs(self.act(x))


class Decoder(nn.Module):
    """From the map at stride `deepest` to the map at stride `last`.

    skips: channels of the encoder's maps at strides 2, 4, … deepest / 2.
    strides, channels: of what the stages give, coarsest first.
    """

    def __init__(self, config: DecoderConfig, deep: int, skips: Sequence[int], last: int, bn_momentum: float) -> None:
        super().__init__()
        deepest = 2 ** (len(skips) + 1)
        self.strides = tuple(s for s in DECODER_STRIDES if last <= s < deepest)
        self.channels = tuple(config.channels[DECODER_STRIDES.index(s)] for s in self.strides)
        by_stride = {2 ** (i + 1): width for i, width in enumerate(skips)}
        stages: list[nn.Module] = []
        for stride, out in zip(self.strides, self.channels, strict=True):
            skip = by_stride.get(stride, 0)
            if config.kind == "light":
                stages.append(SumStage(deep, skip, out, bn_momentum))
            else:
                stages.append(ConcatStage(deep, skip, out, bn_momentum, separable=config.kind == "separable"))
            deep = out
        self.stages = nn.ModuleList(stages)

    def forward(
        self,
        deep: torch.Tensor,
        skips: Sequence[torch.Tensor],
        merges: Mapping[int, Callable[[torch.Tensor], torch.Tensor]] | None = None,
    ) -> dict[int, torch.Tensor]:
        """Stride -> map of that stage, (B, channels, H, W). merges: what to do to the map of a stride before going on."""
        x, maps = deep, {}
        by_stride = {2 ** (i + 1): skip for i, skip in enumerate(skips)}
        for stride, stage in zip(self.strides, self.stages, strict=True):
            x = stage(x, by_stride.get(stride))
            if merges and stride in merges:
                x = merges[stride](x)
            maps[stride] = x
        return maps

    def grids(self, deep: Grid, skips: Sequence[Grid]) -> tuple[dict[int, Grid], dict[int, dict[str, Grid]]]:
        """(stride -> grid of that stage, stride -> what meets there)."""
        grid, grids, met = deep, {}, {}
        by_stride = {2 ** (i + 1): skip for i, skip in enumerate(skips)}
        for stride, stage in zip(self.strides, self.stages, strict=True):
            deep_grid = grid.upsampled(2)
            met[stride] = {"deep": deep_grid}
            if stride in by_stride:
                met[stride]["skip"] = by_stride[stride]
            assert isinstance(stage, (ConcatStage, SumStage))
            grid = grids[stride] = after(stage.convs, deep_grid)
        return grids, met
