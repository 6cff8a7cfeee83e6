"""HookNet (van Rijthoven et al. 2021, arXiv 2006.12230), written from its description: two U-Nets, one hook.

Level ratio r = low µm/px over high µm/px. The low (context) decoder's map at stride 2^depth / r has cells as large in µm
as the high (target) branch's bottleneck; its centre is concatenated there. Plain convolutions, no pretrained encoder.
"""

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import CLASSES, HookNetConfig, ModelConfig
from mlseg_dist.model.blocks import BN_EPS
from mlseg_dist.model.grid import Grid, Meeting, after
from mlseg_dist.sides import BranchSides, branch_sides, check_side, fits, hook_stage


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

    def grids(self, plan: BranchSides) -> tuple[Grid, list[Grid], list[dict[str, Grid]]]:
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
        self.config, self.ratio = config, ratio
        self.hook = hook_stage(hooknet, ratio)
        self.low = Branch(hooknet, 0, bn_momentum)
        self.high = Branch(hooknet, hooknet.filters * 2**hooknet.depth // ratio, bn_momentum)

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views (B, 3, S, S) -> float32 logits (B, 3, T, T) of the centre T px of each view; T = S with `same`.

        Raises UserError, with the nearest sizes that fit, when views of S px do not.
        """
        side = high_BCHW.shape[-1]
        if {*high_BCHW.shape[2:], *low_BCHW.shape[2:]} != {side}:
            shapes = " and ".join(str(tuple(view.shape[2:])) for view in (high_BCHW, low_BCHW))
            raise UserError(f"HookNet takes square views of one size, not {shapes}", "views")
        check_side(self.config, self.ratio, side, "views")
        low_maps = self.low.encode(low_BCHW)
        low_stages = self.low.decode(low_maps[-1], low_maps[:-1])
        *skips, deep = self.high.encode(high_BCHW)
        hooked = torch.cat([deep, crop(low_stages[self.hook], deep.shape[-1])], dim=1)
        high = self.high.head(self.high.decode(hooked, skips)[-1])
        return {"high": high.float(), "low": self.low.head(low_stages[-1]).float()}

    def fits(self, side: int) -> bool:
        """Whether views of this side, px, can be taken."""
        return fits(self.config, self.ratio, side)

    def output_side(self, side: int) -> int:
        """Side of the logits, px, for views of a side that fits."""
        plan = branch_sides(self.config.hooknet, side)
        assert plan is not None
        return plan.stages[-1]

    def meetings(self, side: int) -> list[Meeting]:
        """Every place where paths are joined, and where a head's logits meet pixels; from the centre, high px."""
        plan = branch_sides(self.config.hooknet, side)
        assert plan is not None
        pixels = Grid().cropped((side - plan.stages[-1]) // 2)
        found, scales = [], {"high": 1, "low": self.ratio}
        bottlenecks, stages = {}, {}
        for view, branch in (("high", self.high), ("low", self.low)):
            place = partial(_from_centre, side=side, scale=scales[view])
            bottlenecks[view], stages[view], met = branch.grids(plan)
            strides = [2**level for level in reversed(range(self.config.hooknet.depth))]
            found += [
                Meeting(f"{view} decoder, stride {s}", place(paths)) for s, paths in zip(strides, met, strict=True)
            ]
            found.append(Meeting(view, place({"logits": stages[view][-1], "pixels": pixels})))
        hooked = stages["low"][self.hook].cropped((plan.stages[self.hook] - plan.bottleneck) // 2)
        at = _from_centre({"high": bottlenecks["high"]}, side, 1) | _from_centre({"hook": hooked}, side, self.ratio)
        return [*found, Meeting("hook", at)]


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
