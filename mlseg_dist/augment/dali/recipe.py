"""What of a policy and a corpus decides the graph."""

from dataclasses import dataclass

import numpy as np

from mlseg_dist.augment.colour_ops import ClaheOp, TargetedHsvOp
from mlseg_dist.augment.policy import OpConfig

_FIELDS = frozenset({"elastic", "grid_distortion", "optical_distortion", "glass_blur"})
_LINEAR_COLOUR = frozenset({"pca", "brightness", "contrast", "colour_jitter", "heavy_colour"})
_BINS = 256
_MOST_LIMITS = 9


@dataclass(frozen=True)
class Clahes:
    """The CLAHEs of one tiling. DALI's limit is the operator's, not the sample's: so it is computed at some limits and blended
    in between. limits: whole pixels of a tile's histogram, as OpenCV rounds them; rising.
    """

    tiles: int
    limits: tuple[int, ...]
    pixels: int
    """Of a tile."""

    def limit(self, clip: float) -> int:
        return max(1, int(clip * self.pixels / _BINS))

    def clip(self, limit: int) -> float:
        """A clip limit that is rounded to `limit`."""
        return (limit + 0.5) * _BINS / self.pixels


@dataclass(frozen=True)
class Recipe:
    """ops: names of all that may be drawn. mpp: µm/px of `high`, `low`. store_px, patch_px: sides of views, px.

    stains: most that targeted_hsv shifts. clahes: see Clahes. clahe_tiles: of the high and the low view, per axis.
    """

    ops: frozenset[str]
    mpp: tuple[float, float]
    store_px: int
    patch_px: int
    stains: int = 0
    clahes: tuple[Clahes, ...] = ()
    clahe_tiles: tuple[int, int] = (0, 0)

    @property
    def has_field(self) -> bool:
        """Places are given point by point, not by one matrix."""
        return bool(self.ops & _FIELDS)

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
    ops = {op.op: op for op in policy if op.p > 0}
    out = Recipe(frozenset(ops), (mpp["high"], mpp["low"]), store_px, patch_px)
    hsv, clahe = ops.get("targeted_hsv"), ops.get("clahe")
    more: dict[str, object] = {}
    if isinstance(hsv, TargetedHsvOp):
        more["stains"] = len(hsv.stains)
    if isinstance(clahe, ClaheOp):
        tiles = tuple(max(1, round(patch_px * um / clahe.tile_um)) for um in out.mpp)
        more |= {"clahe_tiles": tiles, "clahes": tuple(_clahes(n, clahe.clip, patch_px) for n in sorted(set(tiles)))}
    return Recipe(**{**out.__dict__, **more})


def _clahes(tiles: int, clips: tuple[float, float], patch_px: int) -> Clahes:
    one = Clahes(tiles, (), (-(-patch_px // tiles)) ** 2)
    least, most = (one.limit(clip) for clip in clips)
    limits = np.unique(np.rint(np.linspace(least, most, _MOST_LIMITS)).astype(int)).tolist()
    return Clahes(tiles, tuple(limits), one.pixels)
