"""HookNet (van Rijthoven et al. 2021, arXiv 2006.12230), written from its description: two U-Nets, one hook.

Level ratio r = low µm/px over high µm/px. The low (context) decoder's map at stride 2^depth / r has cells as large in µm
as the high (target) branch's bottleneck; its centre is concatenated there. Plain convolutions, no pretrained encoder.
"""

from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import CLASSES, HookNetConfig, ModelConfig
from mlseg_dist.model.blocks import BN_EPS
from mlseg_dist.model.grid import Grid, Meeting, after


@dataclass(frozen=True)
class Sides:
    """Cells along a side of a branch's maps. skips: finest first; ups: what meets them; stages: after the convolutions."""

    skips: tuple[int, ...]
    bottleneck: int
    ups: tuple[int, ...]
    stages: tuple[int, ...]


def sides(side: int, depth: int, valid: bool) -> Sides | None:
    """What a view of `side` px becomes in a branch; None where a pooling or a centre crop does not come out even."""
    lost = 2 if valid else 0  # by a 3x3 convolution
    skips: list[int] = []
    for _ in range(depth):
        side -= 2 * lost
        if side <= 0 or side % 2:
            return None
        skips.append(side)
        side //= 2
    bottleneck = deep = side - 2 * lost
    ups: list[int] = []
    stages: list[int] = []
    for skip in reversed(skips):
        up = 2 * deep - lost
        deep = up - 2 * lost
        if deep <= 0 or (skip - up) % 2:
            return None
        ups.append(up)
        stages.append(deep)
    return Sides(tuple(skips), bottleneck, tuple(ups), tuple(stages))


class Branch(nn.Module):
    """A U-Net. hooked: channels that are concatenated at its bottleneck."""

    def __init__(self, config: HookNetConfig, hooked: int, bn_momentum: float) -> None:
        super().__init__()
        conv = partial(_conv, valid=config.padding == "valid", bn_momentum=bn_momentum)
        widths = [config.filters * 2**level for level in range(config.depth + 1)]
        self.downs = nn.ModuleList(
            nn.Sequential(conv(before, out), conv(out, out))
            for before, out in zip([3, *widths[:-1]], widths, strict=True)
        )
        self.pool = nn.MaxPool2d(2)
        deep = [widths[-1] + hooked, *reversed(widths[1:-1])]
        outs = widths[-2::-1]
        self.ups = nn.ModuleList(conv(before, out) for before, out in zip(deep, outs, strict=True))
        self.stages = nn.ModuleList(nn.Sequential(conv(2 * out, out), conv(out, out)) for out in outs)
        self.head = nn.Conv2d(widths[0], len(CLASSES), 1)

    def encode(self, x_BCHW: torch.Tensor) -> list[torch.Tensor]:
        """Maps at strides 1, 2, …, 2^depth; the last is the bottleneck."""
        maps = [self.downs[0](x_BCHW)]
        for down in self.downs[1:]:
            maps.append(down(self.pool(maps[-1])))
        return maps

    def decode(self, deep: torch.Tensor, skips: list[torch.Tensor]) -> list[torch.Tensor]:
        """Maps of the stages, coarsest first. skips: finest first."""
        maps = []
        for up, stage, skip in zip(self.ups, self.stages, reversed(skips), strict=True):
            x = up(F.interpolate(deep, scale_factor=2.0, mode="nearest"))
            deep = stage(torch.cat([x, crop(skip, x.shape[-1])], dim=1))
            maps.append(deep)
        return maps

    def grids(self, plan: Sides) -> tuple[Grid, list[Grid], list[dict[str, Grid]]]:
        """(of the bottleneck, of the stages, what meets in each stage)."""
        skips = [after(self.downs[0], Grid())]
        for down in self.downs[1:]:
            skips.append(after(down, skips[-1].convolved(2, 2, 0)))
        deep = bottleneck = skips.pop()
        grids, met = [], []
        parts = zip(self.ups, self.stages, reversed(skips), reversed(plan.skips), plan.ups, strict=True)
        for up, stage, skip, cells, kept in parts:
            met.append({"deep": after(up, deep.resampled(2)), "skip": skip.cropped((cells - kept) // 2)})
            deep = after(stage, met[-1]["deep"])
            grids.append(deep)
        return bottleneck, grids, met


class HookNet(nn.Module):
    """Heads `high` (target, hooked) and `low` (context). In the paper the context head is not trained: loss weight 0."""

    def __init__(self, config: ModelConfig, ratio: int = 4, bn_momentum: float = 0.1) -> None:
        """Raises UserError when no map of the context decoder has the bottleneck's cell size."""
        super().__init__()
        hooknet = config.hooknet
        self.ratio, self.depth, self.valid = ratio, hooknet.depth, hooknet.padding == "valid"
        possible = [2**level for level in range(1, self.depth + 1)]
        if ratio not in possible:
            raise UserError(
                f"no HookNet of depth {self.depth} for a level ratio of {ratio}",
                "model.hooknet.depth",
                f"low_mpp / high_mpp must be one of {', '.join(map(str, possible))}.",
            )
        self.hook = possible.index(ratio)  # of the context decoder's stages
        self.low = Branch(hooknet, 0, bn_momentum)
        self.high = Branch(hooknet, hooknet.filters * 2**self.depth // ratio, bn_momentum)

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views (B, 3, S, S) -> float32 logits (B, 3, T, T) of the centre T px of each view; T = S with `same`.

        Raises UserError, with the nearest sizes that fit, when views of S px do not.
        """
        side = high_BCHW.shape[-1]
        if high_BCHW.shape[-2:] != low_BCHW.shape[-2:] or high_BCHW.shape[-2] != side or not self.fits(side):
            raise self._misfit(high_BCHW, low_BCHW)
        low_maps = self.low.encode(low_BCHW)
        low_stages = self.low.decode(low_maps[-1], low_maps[:-1])
        *skips, deep = self.high.encode(high_BCHW)
        hooked = torch.cat([deep, crop(low_stages[self.hook], deep.shape[-1])], dim=1)
        high = self.high.head(self.high.decode(hooked, skips)[-1])
        return {"high": high.float(), "low": self.low.head(low_stages[-1]).float()}

    def fits(self, side: int) -> bool:
        """Whether views of this side, px, can be taken: poolings, skips and the hook all come out even."""
        plan = sides(side, self.depth, self.valid)
        if plan is None:
            return False
        around = plan.stages[self.hook] - plan.bottleneck
        return around >= 0 and around % 2 == 0

    def output_side(self, side: int) -> int:
        """Side of the logits, px, for views of a side that fits."""
        plan = sides(side, self.depth, self.valid)
        assert plan is not None
        return plan.stages[-1]

    def meetings(self, side: int) -> list[Meeting]:
        """Every place where paths are joined, and where a head's logits meet pixels; from the centre, high px."""
        plan = sides(side, self.depth, self.valid)
        assert plan is not None
        pixels = Grid().cropped((side - plan.stages[-1]) // 2)
        found, scales = [], {"high": 1, "low": self.ratio}
        bottlenecks, stages = {}, {}
        for view, branch in (("high", self.high), ("low", self.low)):
            place = partial(_from_centre, side=side, scale=scales[view])
            bottlenecks[view], stages[view], met = branch.grids(plan)
            strides = [2**level for level in reversed(range(self.depth))]
            found += [
                Meeting(f"{view} decoder, stride {s}", place(paths)) for s, paths in zip(strides, met, strict=True)
            ]
            found.append(Meeting(view, place({"logits": stages[view][-1], "pixels": pixels})))
        hooked = stages["low"][self.hook].cropped((plan.stages[self.hook] - plan.bottleneck) // 2)
        at = _from_centre({"high": bottlenecks["high"]}, side, 1) | _from_centre({"hook": hooked}, side, self.ratio)
        return [*found, Meeting("hook", at)]

    def _misfit(self, *views: torch.Tensor) -> UserError:
        shapes = [tuple(view.shape[-2:]) for view in views]
        if len({side for shape in shapes for side in shape}) > 1:
            return UserError(f"HookNet takes square views of one size, not {shapes[0]} and {shapes[1]}", "views")
        side = shapes[0][0]
        below = next((s for s in range(side - 1, 0, -1) if self.fits(s)), None)
        above = next(s for s in range(side + 1, side + 4096) if self.fits(s))
        near = f"{below} or {above}" if below else f"{above}"
        padding = "valid" if self.valid else "same"
        return UserError(
            f"HookNet with {padding} convolutions cannot take views of {side} px",
            "train.patch_px",
            f"Nearest sizes that fit: {near}.",
        )


def crop(x_BCHW: torch.Tensor, side: int) -> torch.Tensor:
    """The centre `side` x `side` cells of a square map."""
    before = (x_BCHW.shape[-1] - side) // 2
    return x_BCHW[..., before : before + side, before : before + side]


def _conv(in_channels: int, out_channels: int, valid: bool, bn_momentum: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, 3, padding=0 if valid else 1, bias=False),
        nn.BatchNorm2d(out_channels, eps=BN_EPS, momentum=bn_momentum),
        nn.ReLU(inplace=True),
    )


def _from_centre(grids: dict[str, Grid], side: int, scale: float) -> dict[str, Grid]:
    return {name: grid.from_centre(side, scale) for name, grid in grids.items()}
