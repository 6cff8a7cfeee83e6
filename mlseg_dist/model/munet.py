"""The m-UNet (figures 9 and 10): a high and a low U-Net, hooks from the low decoder into the high branch, three heads."""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from mlseg_dist.config import CLASSES, ModelConfig
from mlseg_dist.model.blocks import cells_before, centre, upsample
from mlseg_dist.model.decoder import Decoder
from mlseg_dist.model.encoder import STRIDES, Encoder
from mlseg_dist.model.grid import Grid, Meeting
from mlseg_dist.model.merge import Merge
from mlseg_dist.sides import check_hooks

BOTTLENECK = 16
"""Stride of the high encoder's last map (the paper's second-last block)."""


class MUNet(nn.Module):
    """Two encoders, two decoders; heads `high` and `low` on their own grids and `merged` on the high grid."""

    def __init__(self, config: ModelConfig, ratio: int = 4, bn_momentum: float = 0.1) -> None:
        super().__init__()
        check_hooks(config, ratio)
        self.ratio = ratio
        self.last = config.decoder.stride
        self.low_last = min(self.last, min(config.hooks) // ratio)
        self.low_encoder = Encoder(config.encoder, STRIDES[-1], bn_momentum)
        self.high_encoder = Encoder(config.encoder, BOTTLENECK, bn_momentum)
        low, high = self.low_encoder.channels, self.high_encoder.channels
        self.low_decoder = Decoder(config.decoder, low[-1], low[:-1], self.low_last, bn_momentum)
        self.high_decoder = Decoder(config.decoder, high[-1], high[:-1], self.last, bn_momentum)
        low_width = dict(zip(self.low_decoder.strides, self.low_decoder.channels, strict=True))
        high_width = {
            BOTTLENECK: high[-1],
            **dict(zip(self.high_decoder.strides, self.high_decoder.channels, strict=True)),
        }
        self.merges = nn.ModuleDict(
            {
                str(hook): Merge(config, low_width[hook // ratio], high_width[hook], ratio, bn_momentum)
                for hook in sorted(set(config.hooks), reverse=True)
            }
        )
        classes = len(CLASSES)
        self.high_head = nn.Conv2d(self.high_decoder.channels[-1], classes, 1)
        self.low_head = nn.Conv2d(self.low_decoder.channels[-1], classes, 1)
        self.merged_head = nn.Sequential(
            nn.Conv2d(2 * classes, 4 * classes, 1), nn.SiLU(), nn.Conv2d(4 * classes, classes, 1)
        )

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views (B, 3, S, S) -> float32 logits (B, 3, S, S) of heads high, low (low grid) and merged (high grid)."""
        low_maps = self.low_encoder(low_BCHW)
        low_stages = self.low_decoder(low_maps[-1], low_maps[:-1])
        high_maps = self.high_encoder(high_BCHW)
        hooks = {int(h): partial(merge, low=low_stages[int(h) // self.ratio]) for h, merge in self.merges.items()}
        deep = hooks.pop(BOTTLENECK)(high_maps[-1]) if BOTTLENECK in hooks else high_maps[-1]
        high_stages = self.high_decoder(deep, high_maps[:-1], hooks)
        high = upsample(self.high_head(high_stages[self.last]), self.last)
        low = upsample(self.low_head(low_stages[self.low_last]), self.low_last)
        seen_by_low = F.interpolate(
            centre(low, self.ratio), scale_factor=float(self.ratio), mode="bilinear", align_corners=False
        )
        merged = self.merged_head(torch.cat([high, seen_by_low], dim=1))
        return {"merged": merged.float(), "high": high.float(), "low": low.float()}

    def meetings(self, side: int) -> list[Meeting]:
        """Every place where paths are joined, and where a head's logits meet pixels; from the centre, high px.

        `compress` is left out: it folds the low field by intent.
        """
        place = partial(_placed, side=side, ratio=self.ratio)
        low_maps, high_maps = self.low_encoder.grids(Grid()), self.high_encoder.grids(Grid())
        low, low_met = self.low_decoder.grids(low_maps[-1], low_maps[:-1])
        high, high_met = self.high_decoder.grids(high_maps[-1], high_maps[:-1])
        found = [Meeting(f"low decoder, stride {s}", place(low=paths)) for s, paths in low_met.items()]
        found += [Meeting(f"high decoder, stride {s}", place(high=paths)) for s, paths in high_met.items()]
        for name, merge in self.merges.items():
            assert isinstance(merge, Merge)
            hook = int(name)
            at = high_maps[-1] if hook == BOTTLENECK else high[hook]
            paths = merge.grids(low[hook // self.ratio], side * self.ratio // hook)
            if paths:
                found.append(Meeting(f"hook, stride {hook}", place(high={"high": at}, low=paths)))
        low_out, high_out = low[self.low_last].upsampled(self.low_last), high[self.last].upsampled(self.last)
        seen = low_out.cropped(cells_before(side, self.ratio)).resampled(self.ratio)
        found.append(Meeting("low", place(low={"logits": low_out, "pixels": Grid()})))
        found.append(Meeting("high", place(high={"logits": high_out, "pixels": Grid()})))
        found.append(Meeting("merged", place(high={"high": high_out, "pixels": Grid()}, low={"low": seen})))
        return found


def _placed(
    side: int, ratio: int, high: dict[str, Grid] | None = None, low: dict[str, Grid] | None = None
) -> dict[str, Grid]:
    """All from the centre of the field, in high px."""
    placed = {name: grid.from_centre(side, 1) for name, grid in (high or {}).items()}
    return placed | {name: grid.from_centre(side, ratio) for name, grid in (low or {}).items()}
