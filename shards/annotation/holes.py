"""Holes that are annotations of their own (NegativeROA, ASAP's "negative"): which region each is cut from."""

from collections.abc import Sequence

from shards.annotation.raster import Ring, window_of

_GRID = 48  # samples across a hole


def owners(hole: Ring, regions: Sequence[Ring]) -> list[int]:
    """Indices of the regions to cut `hole` from.

    The smallest region that holds most of the hole: people draw over the edge by a little. If none does, every region
    that it overlaps, for nothing under a hole is to be labelled by what it was cut into.
    """
    x0, y0, x1, y1 = hole.bounds
    corner, step = (x0, y0), (max(x1 - x0, 1e-6) / _GRID, max(y1 - y0, 1e-6) / _GRID)
    inside = hole.fill(corner, step, (0, 0, _GRID, _GRID))
    touched = []
    for index in sorted(range(len(regions)), key=lambda index: regions[index].area):
        window = window_of(regions[index].bounds, corner, step, (_GRID, _GRID))
        if window is None:
            continue
        left, top, right, bottom = window
        shared = int((inside[top:bottom, left:right] & regions[index].fill(corner, step, window)).sum())
        if 2 * shared > int(inside.sum()):
            return [index]
        if shared:
            touched.append(index)
    return touched
