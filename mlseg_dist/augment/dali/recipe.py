"""What of a policy and a corpus decides the graph."""

from dataclasses import dataclass

import numpy as np

from mlseg_core.errors import UserError
from mlseg_dist.augment.albumentations_ops import cpu_only
from mlseg_dist.augment.colour_ops import ClaheOp, TargetedHsvOp
from mlseg_dist.augment.parameters import StainShift
from mlseg_dist.augment.policy import OpConfig

_FIELDS = frozenset({"elastic", "grid_distortion", "optical_distortion", "glass_blur"})
_LINEAR_COLOUR = frozenset({"pca", "brightness", "contrast", "colour_jitter", "heavy_colour"})
_BINS = 256
MOST_CHANNELS = 6
"""That coord_transform takes."""
_FEW_LIMITS = MOST_CHANNELS - 1
"""One matrix blends so many, with the lightness itself. They do for limits that at most double."""
_MANY_LIMITS = _FEW_LIMITS + MOST_CHANNELS
STAINS_AT_ONCE = MOST_CHANNELS - 2
"""With S and V as many channels as coord_transform takes."""


@dataclass(frozen=True)
class Clahes:
    """The CLAHEs of one tiling. DALI's limit is the operator's, not the sample's: so it is computed at some limits and blended
    in between. limits: whole pixels of a tile's histogram, as OpenCV rounds them; rising.
    """

    tiles: int
    limits: tuple[int, ...]
    pixels: int
    """Pixels of a tile."""

    @property
    def chunks(self) -> list[tuple[int, ...]]:
        """The limits whose images one matrix blends; in the first chunk, with the lightness itself."""
        first = MOST_CHANNELS - 1
        rest = range(first, len(self.limits), MOST_CHANNELS)
        return [self.limits[:first], *(self.limits[at : at + MOST_CHANNELS] for at in rest)]

    def limit(self, clip: float) -> int:
        return max(1, int(clip * self.pixels / _BINS))

    def clip(self, limit: int) -> float:
        """A clip limit that is rounded to `limit`."""
        return (limit + 0.5) * _BINS / self.pixels


@dataclass(frozen=True)
class Recipe:
    """ops: names of all that may be drawn. mpp: µm/px of `high`, `low`. store_px, patch_px: sides of views, px.

    stains: all that targeted_hsv may shift, by 0; the policy fixes where they lie. clahes: see Clahes; the high view's first.
    clahe_tiles: of the high and the low view, per axis.
    """

    ops: frozenset[str]
    mpp: tuple[float, float]
    store_px: int
    patch_px: int
    stains: tuple[StainShift, ...] = ()
    clahes: tuple[Clahes, ...] = ()
    clahe_tiles: tuple[int, int] = (0, 0)

    @property
    def has_field(self) -> bool:
        """Places are given point by point, not by one matrix."""
        return bool(self.ops & _FIELDS)

    @property
    def stain_groups(self) -> list[tuple[StainShift, ...]]:
        """Those that one matrix shifts together."""
        return [self.stains[at : at + STAINS_AT_ONCE] for at in range(0, len(self.stains), STAINS_AT_ONCE)]

    @property
    def has_matrix(self) -> bool:
        return bool(self.ops & _LINEAR_COLOUR)

    @property
    def has_gaussian(self) -> bool:
        return bool(self.ops & {"gaussian_blur", "glass_blur"})

    @property
    def has_kernel(self) -> bool:
        return bool(self.ops & {"motion_blur", "emboss"})


def recipe(policy: tuple[OpConfig, ...], mpp: dict[str, float], store_px: int, patch_px: int) -> Recipe:
    """Raises UserError for an op that the graph cannot have."""
    lacking = cpu_only(policy)
    if lacking:
        raise UserError(f"DALI cannot do {', '.join(lacking)}", "train.augment_on: gpu", "Set train.augment_on=cpu.")
    ops = {op.op: op for op in policy if op.p > 0}
    out = Recipe(frozenset(ops), (mpp["high"], mpp["low"]), store_px, patch_px)
    hsv, clahe = ops.get("targeted_hsv"), ops.get("clahe")
    more: dict[str, object] = {}
    if isinstance(hsv, TargetedHsvOp):
        more["stains"] = tuple(dict.fromkeys(stain.shift(0.0, 0.0) for _, stain in sorted(hsv.stains.items())))
    if isinstance(clahe, ClaheOp):
        tiles = tuple(max(1, round(patch_px * um / clahe.tile_um)) for um in out.mpp)
        more |= {"clahe_tiles": tiles, "clahes": tuple(_clahes(n, clahe.clip, patch_px) for n in dict.fromkeys(tiles))}
    return Recipe(**{**out.__dict__, **more})


def _clahes(tiles: int, clips: tuple[float, float], patch_px: int) -> Clahes:
    one = Clahes(tiles, (), (-(-patch_px // tiles)) ** 2)
    least, most = (one.limit(clip) for clip in clips)
    count = min(most - least + 1, _FEW_LIMITS if most <= 2 * least else _MANY_LIMITS)
    limits = np.rint(np.linspace(least, most, count)).astype(int).tolist()
    return Clahes(tiles, tuple(limits), one.pixels)
