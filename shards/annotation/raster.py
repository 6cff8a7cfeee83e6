"""Polygons -> pixels by the centre rule: a pixel is inside when its centre is, even-odd, exactly.

OpenCV's fillPoly also takes every pixel that the border touches, which adds half a pixel all around.
"""

from collections.abc import Iterator
from functools import cached_property

import numpy as np

from shards.annotation.drawing import Shape

_CHUNK = 512  # edges that are skipped together
_MOST_CROSSINGS = 1 << 22  # worked on at once, so that memory stays bounded

Window = tuple[int, int, int, int]
"""View px x0, y0, x1, y1; the ends are excluded."""


class Ring:
    """A closed ring, (n, 2) level-0 px, ready to be filled on any view. bounds: x0, y0, x1, y1."""

    def __init__(self, points: np.ndarray) -> None:
        self._points = np.concatenate([points, points[:1]])
        self.bounds = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        starts = np.arange(0, len(points), _CHUNK)
        self._low = np.minimum.reduceat(np.minimum(self._points[:-1], self._points[1:]), starts)
        self._high = np.maximum.reduceat(np.maximum(self._points[:-1], self._points[1:]), starts)

    @property
    def points(self) -> np.ndarray:
        return self._points[:-1]

    @cached_property
    def area(self) -> float:
        """Level-0 px²; of a ring that crosses itself, what its windings leave."""
        x, y = (self._points - self._points[0]).T
        return abs(float(x[:-1] @ y[1:] - y[:-1] @ x[1:])) / 2

    def fill(self, corner: tuple[float, float], step: tuple[float, float], window: Window) -> np.ndarray:
        """uint8 (height, width) of the window: 1 inside, 0 outside.

        corner: level-0 point at the view's top left; step: level-0 px per view px. A centre on a left or top border is
        inside, on a right or bottom border outside, so that neighbours share no pixel and leave none out.
        """
        x0, y0, x1, y1 = window
        parity = np.zeros((y1 - y0, x1 - x0), np.uint8)
        flat = parity.reshape(-1)
        for row, x in self._crossings(corner, step, window):
            # Every pixel from the crossing on to the right changes sides.
            column = np.ceil(np.clip(x, x0, x1)).astype(np.int64)
            seen = column < x1
            np.bitwise_xor.at(flat, (row[seen] - y0) * (x1 - x0) + column[seen] - x0, 1)
        return np.bitwise_xor.accumulate(parity, axis=1, out=parity)

    def _crossings(
        self, corner: tuple[float, float], step: tuple[float, float], window: Window
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """(row, x) in view px, pixel centres at whole numbers, where edges cross the window's rows; no order."""
        edges = self._edges_near(corner, step, window)
        a, b = _centred(self._points[edges], corner, step), _centred(self._points[edges + 1], corner, step)
        downward = (a[:, 1] <= b[:, 1])[:, None]  # both directions alike, so that neighbours agree to the last bit
        top, bottom = np.where(downward, a, b), np.where(downward, b, a)
        rows = np.ceil(np.clip([top[:, 1], bottom[:, 1]], window[1], window[3])).astype(np.int64)
        count = rows[1] - rows[0]
        crossing = np.flatnonzero(count)
        top, bottom, first, count = top[crossing], bottom[crossing], rows[0][crossing], count[crossing]
        with np.errstate(over="ignore"):
            slope = (bottom[:, 0] - top[:, 0]) / (bottom[:, 1] - top[:, 1])
        ends = np.cumsum(count)
        for start, stop in _batches(ends):
            part = slice(start, stop)
            edge = np.repeat(np.arange(start, stop), count[part])
            before = ends[start] - count[start]
            row = first[edge] + np.arange(before, before + len(edge)) - (ends - count)[edge]
            yield row, top[edge, 0] + (row - top[edge, 1]) * slope[edge]

    def _edges_near(self, corner: tuple[float, float], step: tuple[float, float], window: Window) -> np.ndarray:
        """Edges of the chunks that may cross the window's rows and do not lie wholly to its right."""
        right = corner[0] + window[2] * step[0]
        top, bottom = corner[1] + window[1] * step[1], corner[1] + window[3] * step[1]
        near = (self._low[:, 0] <= right) & (self._low[:, 1] <= bottom) & (self._high[:, 1] >= top)
        edges = (np.flatnonzero(near)[:, None] * _CHUNK + np.arange(_CHUNK)).reshape(-1)
        return edges[edges < len(self._points) - 1]


def _centred(points: np.ndarray, corner: tuple[float, float], step: tuple[float, float]) -> np.ndarray:
    """Level-0 points (n, 2) -> view px with pixel centres at whole numbers."""
    return (points - (np.array(corner) + np.array(step) / 2)) / step


def _batches(ends: np.ndarray) -> Iterator[tuple[int, int]]:
    """Slices of edges with at most about _MOST_CROSSINGS crossings; `ends`: running sum of crossings."""
    start = 0
    while start < len(ends):
        done = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, done + _MOST_CROSSINGS, side="right")))
        yield start, stop
        start = stop


def window_of(
    bounds: tuple[float, float, float, float],
    corner: tuple[float, float],
    step: tuple[float, float],
    size: tuple[int, int],
) -> Window | None:
    """The part of a view of `size` px whose pixel centres lie in level-0 bounds; None: no part does.

    A centre on the right or bottom border counts as outside.
    """
    (x0, y0), (x1, y1) = (
        np.ceil(np.clip(_centred(np.reshape(bounds, (2, 2)), corner, step), 0, size)).astype(int).tolist()
    )
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


def overlap(first: Window | None, second: Window | None) -> Window | None:
    """The part that two windows of a view share; None: none."""
    if first is None or second is None:
        return None
    x0, y0, x1, y1 = (
        max(first[0], second[0]),
        max(first[1], second[1]),
        min(first[2], second[2]),
        min(first[3], second[3]),
    )
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None


class Region:
    """One annotated polygon less its holes, and its fine class id."""

    def __init__(self, shape: Shape, fine: int) -> None:
        self.layer, self.fine = shape.layer, fine
        self.exterior, *self.holes = [Ring(points) for points in shape.rings]

    def fill(self, corner: tuple[float, float], step: tuple[float, float], window: Window) -> np.ndarray:
        """bool (height, width) of the window, see Ring.fill."""
        inside = self.exterior.fill(corner, step, window)
        for hole in self.holes:
            part = overlap(window_of(hole.bounds, corner, step, (window[2], window[3])), window)
            if part is not None:
                x0, y0 = part[0] - window[0], part[1] - window[1]
                cut = hole.fill(corner, step, part)
                inside[y0 : y0 + cut.shape[0], x0 : x0 + cut.shape[1]] &= 1 - cut
        return inside.view(bool)
