"""Which pixels of a pair's views nobody is to label: those off the slide, and those that somebody excluded.

A view at a slide's border reaches beyond it, and a view that is wider than an imported tile does so on all sides; these pixels are
painted in the colour of glass. Cutting records which pixels of each view's plane (plane.py) lie on the slide, as whole numbers; a
pair's position tells which of its own these are.
"""

import json
import math
from collections.abc import Callable

import numpy as np

from shards.excluded import excluded_cells
from shards.manifest import Box, Manifest
from shards.pyramids.pyramid import Bounds
from shards.sample import high_px
from shards.tar import BadShard, ShardReader

OUTSIDE = "outside"
"""Name of the count of a round's pixels that lie outside or are excluded.

They hold 255 as rejected ones do, and are not counted as such.
"""


def box_on_slide(size: tuple[int, int], mpp: tuple[float, float], bounds: Bounds | None, view_mpp: float) -> Box:
    """The pixels of the plane at `view_mpp` µm/px whose centres lie on the scanned part of a slide.

    size: level-0 px (width, height).  mpp: µm/px of level 0 (x, y).  bounds: of the scanned part; None: the whole level 0.
    """
    x, y, width, height = bounds or (0, 0, *size)
    (left, right), (top, bottom) = (
        (_first_from(max(0, begin), view_mpp / mpp[axis]), _first_from(min(end, size[axis]), view_mpp / mpp[axis]))
        for axis, begin, end in ((0, x, x + width), (1, y, y + height))
    )
    return left, top, right, bottom


def _first_from(at: float, step: float) -> int:
    """The first pixel whose centre is not before the level-0 coordinate `at`, as labels are cut."""
    pixel = math.ceil(at / step - 0.5)
    while (pixel + 0.5) * step < at:
        pixel += 1
    while (pixel - 0.5) * step >= at:
        pixel -= 1
    return pixel


class Outside:
    """The pixels of a corpus' pairs that lie off their slides or are excluded.

    None is known where an earlier version cut the slide.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._ratio, self._high_mpp = manifest.ratio, manifest.views["high_mpp"]
        self._side = round(manifest.views["store_px"])
        self._inside = {slide.slug: slide.inside for slide in manifest.slides}
        self._is_known = any(self._inside.values())

    def of_row(self, pairs: ShardReader, row: int, stride: int = 1) -> dict[str, np.ndarray]:
        """of() a pair of a shard of the corpus. Raises BadShard."""
        if not self._is_known:
            return {}

        def read(member: str) -> bytes:
            return pairs.read_member(row, pairs.members.index(member))

        return self.of(read("json"), f"{pairs.path}: {pairs.key(row)}", read, stride)

    def of(self, pair_json: bytes, name: str, read: Callable[[str], bytes], stride: int = 1) -> dict[str, np.ndarray]:
        """View -> cells of stride x stride px of which any px lies outside or is excluded, bool (S/stride, S/stride).

        pair_json: the pair's member `json`.  name: the pair's, for errors.  read: gives another of its members.  A view that
        is to be labelled altogether has no entry.  Raises BadShard.
        """
        off, excluded = self._off_slide(pair_json, name, stride), excluded_cells(pair_json, name, stride, read)
        masks = {view: [found[view] for found in (off, excluded) if view in found] for view in ("high", "low")}
        return {view: np.logical_or.reduce(found) for view, found in masks.items() if found}

    def _off_slide(self, pair_json: bytes, name: str, stride: int) -> dict[str, np.ndarray]:
        try:
            info = json.loads(pair_json)
            inside = self._inside[info["slug"]]
            if inside is None:
                return {}
            (x, x_mpp), (y, y_mpp) = zip(info["center"], info["mpp0"], strict=True)
            centre = [high_px(at, mpp, self._high_mpp, self._ratio) for at, mpp in ((x, x_mpp), (y, y_mpp))]
        except (KeyError, TypeError, ValueError) as error:
            what = f"{name}.json does not say where the pair lies on a slide of the manifest ({error!r})"
            raise BadShard(what) from error
        found = {}
        for view, box, scale in (("high", inside.high, 1), ("low", inside.low, self._ratio)):
            left, top = (at // scale - self._side // 2 for at in centre)
            columns = _off(box[0] - left, box[2] - left, self._side, stride)
            rows = _off(box[1] - top, box[3] - top, self._side, stride)
            if columns.any() or rows.any():
                found[view] = rows[:, None] | columns
        return found


def _off(begin: int, end: int, side: int, stride: int) -> np.ndarray:
    """Which cells of a row of `side` px are not wholly among its pixels from `begin` to `end` - 1, bool (side/stride,)."""
    pixel = np.arange(side)
    off = np.logical_or(pixel < begin, pixel >= end)
    return np.logical_or.reduce(off.reshape(-1, stride), axis=1)
