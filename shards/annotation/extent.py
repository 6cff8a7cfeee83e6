"""How much of what was drawn lies off the slide."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shards.annotation.raster import Region, window_of

_GRID = 128  # samples across a region that lies partly off the slide


@dataclass(frozen=True)
class OffSlide:
    """share: of the annotated area, 0 to 1; regions: how many there are; mostly: those more than half off."""

    share: float = 0.0
    regions: int = 0
    mostly: int = 0


def off_slide(regions: Sequence[Region], scanned: tuple[float, float, float, float]) -> OffSlide:
    """scanned: x0, y0, x1, y1 of the slide, or of its scanned part, level-0 px. Overlapping regions count each."""
    bounds = np.array([region.exterior.bounds for region in regions]).reshape(-1, 4)
    low, high = np.array(scanned[:2]), np.array(scanned[2:])
    inside = (bounds[:, :2] >= low).all(axis=1) & (bounds[:, 2:] <= high).all(axis=1)
    if inside.all():
        return OffSlide(regions=len(regions))
    outside = (bounds[:, :2] >= high).any(axis=1) | (bounds[:, 2:] <= low).any(axis=1)
    shares = outside.astype(float)
    for index in np.flatnonzero(~inside & ~outside).tolist():
        shares[index] = _share(regions[index], scanned)
    areas = np.array([_area(region) for region in regions])
    return OffSlide(float(shares @ areas / areas.sum()), len(regions), int((shares > 0.5).sum()))


def _share(region: Region, scanned: tuple[float, float, float, float]) -> float:
    x0, y0, x1, y1 = region.exterior.bounds
    corner, step, size = (x0, y0), ((x1 - x0) / _GRID, (y1 - y0) / _GRID), (_GRID, _GRID)
    drawn = region.fill(corner, step, (0, 0, *size))
    window = window_of(scanned, corner, step, size)
    if window is None or not drawn.any():
        return 1.0
    left, top, right, bottom = window
    return 1 - float(drawn[top:bottom, left:right].sum()) / float(drawn.sum())


def _area(region: Region) -> float:
    """Level-0 px²; where the windings of a ring that crosses itself leave nothing, its box's."""
    x0, y0, x1, y1 = region.exterior.bounds
    area = region.exterior.area - sum(hole.area for hole in region.holes)
    return area if area > 0 else (x1 - x0) * (y1 - y0)
