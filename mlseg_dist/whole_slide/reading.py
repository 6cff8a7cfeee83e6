"""Both views of a slide for many threads. Every pixel is decoded and resampled once and cut from many times.

A patch and its neighbours share pixels, low views most of them: at a level ratio of 4 and an overlap of a quarter, a low px
is seen by 28 patches. As in shards/plane.py the slide is one endless image at each resolution, kept in blocks. Here several threads
ask for blocks: the first one computes a block, the others wait for it; and blocks above the patches at hand are forgotten.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Self

import numpy as np

from shards.plane import BLOCK_PX
from shards.pyramids import Unreadable
from shards.reader import SlideReader

_STRIPE_BLOCKS = 4
"""Neighbouring columns of blocks that one reader serves, from top to bottom: its decoded tiles serve the next block too."""
_TILE_BYTES = 256 << 20  # decoded tiles, of all readers together


class SlideViews:
    """A slide at `high_mpp` and `low_mpp`, read by at most `threads` threads at a time. Leave its `with` block to close it.

    reader: an open slide, which the caller closes, and leaves alone meanwhile. Its twins, one for each further thread, are
    opened and closed here.
    """

    def __init__(self, reader: SlideReader, high_mpp: float, low_mpp: float, threads: int) -> None:
        reader.glass  # noqa: B018  (found from a thumbnail, which threads could not make at the same time)
        each = max(8 << 20, _TILE_BYTES // threads)
        self._twins = [reader.twin(each) for _ in range(threads - 1)]
        self._readers = [(one, threading.Lock()) for one in (reader, *self._twins)]
        self._closed = False
        self.planes = {
            "high": SharedPlane(self._read, high_mpp, reader.mpp),
            "low": SharedPlane(self._read, low_mpp, reader.mpp),
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closed = True
        for _, lock in self._readers:
            with lock:  # a thread may still be reading: whoever used the strips may have left for an error
                pass
        for twin in self._twins:
            twin.close()

    def _read(
        self, number: int, corner: tuple[float, float], step: tuple[float, float], size: tuple[int, int]
    ) -> "Pixels":
        reader, lock = self._readers[number % len(self._readers)]
        with lock:
            if self._closed:
                raise RuntimeError("the slide is closed")
            try:
                return reader.view(corner, step, size), None, ""
            except Unreadable:
                image, lost = reader.salvage(corner, step, size)
                return image, lost, reader.lost_why


Pixels = tuple[np.ndarray, np.ndarray | None, str]
"""uint8 RGB (h, w, 3); which of its px cannot be decoded, bool (h, w), None where all can; and why."""
Read = Callable[[int, tuple[float, float], tuple[float, float], tuple[int, int]], Pixels]
"""Number of a reader, corner in level-0 px, level-0 px per px, size in px."""


class SharedPlane:
    """The slide as one endless image at `mpp` µm/px; pixel (0, 0) begins at its corner. Any thread may call.

    slide_mpp: level-0 µm/px (x, y).
    """

    def __init__(self, read: Read, mpp: float, slide_mpp: tuple[float, float]) -> None:
        self._read, self._step = read, (mpp / slide_mpp[0], mpp / slide_mpp[1])
        self._blocks: dict[tuple[int, int], Future[Pixels]] = {}
        self._lock = threading.Lock()

    def crop(self, left: int, top: int, out: np.ndarray) -> str:
        """Fill `out`, uint8 (height, width, 3), with the pixels from (left, top). Returns why some cannot be decoded, or ""."""
        (height, width), why = out.shape[:2], ""
        for row in range(top // BLOCK_PX, (top + height - 1) // BLOCK_PX + 1):
            y, y0, y1 = _span(row, top, height)
            for column in range(left // BLOCK_PX, (left + width - 1) // BLOCK_PX + 1):
                x, x0, x1 = _span(column, left, width)
                image, lost, reason = self._block(row, column)
                out[y0 - top : y1 - top, x0 - left : x1 - left] = image[y0 - y : y1 - y, x0 - x : x1 - x]
                if lost is not None and lost[y0 - y : y1 - y, x0 - x : x1 - x].any():
                    why = why or reason
        return why

    def forget_above(self, top: int) -> None:
        """No more pixels above row `top` will be asked for."""
        with self._lock:
            for row, column in [key for key in self._blocks if (key[0] + 1) * BLOCK_PX <= top]:
                del self._blocks[row, column]

    @property
    def bytes(self) -> int:
        """Size of the blocks that are kept."""
        return len(self._blocks) * 3 * BLOCK_PX**2

    def _block(self, row: int, column: int) -> Pixels:
        with self._lock:
            block = self._blocks.get((row, column))
            first = block is None
            if block is None:
                block = self._blocks[row, column] = Future()
        if first:
            try:
                corner = (column * BLOCK_PX * self._step[0], row * BLOCK_PX * self._step[1])
                block.set_result(self._read(column // _STRIPE_BLOCKS, corner, self._step, (BLOCK_PX, BLOCK_PX)))
            except BaseException as error:  # whoever waits for the block has to hear of it
                block.set_exception(error)
        return block.result()


def _span(number: int, first: int, length: int) -> tuple[int, int, int]:
    """Where a block begins, and the part of [first, first + length) that lies in it, px."""
    start = number * BLOCK_PX
    return start, max(first, start), min(first + length, start + BLOCK_PX)
