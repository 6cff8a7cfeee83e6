"""A slide as one endless image at a fixed µm/px, with its labels: every pixel is computed once and cut from many times.

Pixel (0, 0) begins at the slide's corner. Patches are crops at whole pixels, so neighbours agree to the last bit, and
what a crop shows does not depend on which others were cut before it.
"""

from collections import OrderedDict
from collections.abc import Callable

import numpy as np

from shards.annotation import UNLABELLED, Annotation
from shards.pyramids import Unreadable
from shards.reader import SlideReader

BLOCK_PX = 256
_LABEL_BLOCK_PX = 1024


class Plane:
    """The slide at `mpp` µm/px. Keeps computed blocks, at most `budget_bytes` of them, the latest used.

    annotation: None when nobody annotated the slide: all is UNLABELLED.
    """

    def __init__(self, reader: SlideReader, annotation: Annotation | None, mpp: float, budget_bytes: int) -> None:
        self._reader, self._annotation = reader, annotation
        self._step = (mpp / reader.mpp[0], mpp / reader.mpp[1])
        self._lost: dict[tuple[int, int], np.ndarray] = {}  # corner of a block -> its px that cannot be decoded
        self._image = _Blocks(BLOCK_PX, budget_bytes * 7 // 8)
        self._label = _Blocks(_LABEL_BLOCK_PX, budget_bytes // 8)

    def image(self, left: int, top: int, side: int) -> np.ndarray:
        """uint8 (side, side, 3) RGB of the pixels from (left, top). Raises Unreadable when some were lost."""
        out = self._image.crop(left, top, np.empty((side, side, 3), np.uint8), self._view)
        for (x, y), lost in self._lost.items():
            if lost[max(0, top - y) : max(0, top + side - y), max(0, left - x) : max(0, left + side - x)].any():
                raise Unreadable(self._reader.lost_why)
        return out

    def label(self, left: int, top: int, side: int) -> np.ndarray:
        """Fine class ids, uint8 (side, side); UNLABELLED off the slide."""
        if self._annotation is None:
            return np.full((side, side), UNLABELLED, np.uint8)
        return self._label.crop(left, top, np.empty((side, side), np.uint8), self._labels)

    def _view(self, left: int, top: int, side: int) -> np.ndarray:
        corner, size = (left * self._step[0], top * self._step[1]), (side, side)
        try:
            return self._reader.view(corner, self._step, size)
        except Unreadable:
            image, self._lost[left, top] = self._reader.salvage(corner, self._step, size)
            return image

    def _labels(self, left: int, top: int, side: int) -> np.ndarray:
        assert self._annotation is not None
        corner, size = (left * self._step[0], top * self._step[1]), (side, side)
        label = self._annotation.label(corner, self._step, size)
        label[~self._reader.inside(corner, self._step, size)] = UNLABELLED
        return label


Compute = Callable[[int, int, int], np.ndarray]
"""left, top, side -> the square block there."""


class _Blocks:
    """Square blocks of an endless image, computed when first needed, forgotten least recently used first."""

    def __init__(self, side: int, budget_bytes: int) -> None:
        self._side, self._budget = side, budget_bytes
        self._kept: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._bytes = 0

    def crop(self, left: int, top: int, out: np.ndarray, compute: Compute) -> np.ndarray:
        """Fill `out` (height, width, …) with the pixels from (left, top)."""
        side, (height, width) = self._side, out.shape[:2]
        for row in range(top // side, (top + height - 1) // side + 1):
            y0, y1 = max(top, row * side), min(top + height, (row + 1) * side)
            for column in range(left // side, (left + width - 1) // side + 1):
                x0, x1 = max(left, column * side), min(left + width, (column + 1) * side)
                block = self._block(row, column, compute)
                source = block[y0 - row * side : y1 - row * side, x0 - column * side : x1 - column * side]
                out[y0 - top : y1 - top, x0 - left : x1 - left] = source
        return out

    def _block(self, row: int, column: int, compute: Compute) -> np.ndarray:
        # `compute` is handed in and not kept: a cycle would keep a slide's blocks in memory while the next one is cut.
        if (row, column) in self._kept:
            self._kept.move_to_end((row, column))
            return self._kept[row, column]
        block = compute(column * self._side, row * self._side, self._side)
        self._kept[row, column] = block
        self._bytes += block.nbytes
        while self._bytes > self._budget and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return block
