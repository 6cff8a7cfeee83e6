"""A Drawing with its classes mapped: polygons from weak to strong, rasterised on any view; holes cut from the regions
that own them. What is excluded is stronger than every class.
"""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np
import shapely

from shards.annotation.drawing import Drawing, Shape
from shards.annotation.extent import OffSlide, off_slide
from shards.annotation.interface import EXCLUDED_PX, UNLABELLED
from shards.annotation.origin import Placement
from shards.annotation.raster import Region, Ring, overlap, window_of
from shards.config import EXCLUDED, HOLE, IGNORED, ShardsConfig

_GRID = 48  # samples across a hole


def owners(hole: Ring, regions: Sequence[Ring]) -> tuple[list[int], list[int]]:
    """Indices of the regions that hold most of `hole`, and of all that it overlaps, the smallest first.

    People draw over the edge by a little, so that most of a hole counts as all of it.
    """
    x0, y0, x1, y1 = hole.bounds
    corner, step = (x0, y0), (max(x1 - x0, 1e-6) / _GRID, max(y1 - y0, 1e-6) / _GRID)
    inside = hole.fill(corner, step, (0, 0, _GRID, _GRID))
    touched, around = [], []
    for index in sorted(range(len(regions)), key=lambda index: regions[index].area):
        window = window_of(regions[index].bounds, corner, step, (_GRID, _GRID))
        if window is None:
            continue
        left, top, right, bottom = window
        shared = int((inside[top:bottom, left:right] & regions[index].fill(corner, step, window)).sum())
        if 2 * shared > int(inside.sum()):
            around.append(index)
        if shared:
            touched.append(index)
    return around, touched


class Regions:
    """An Annotation (see there) of polygons."""

    def __init__(
        self, drawing: Drawing, config: ShardsConfig, size: tuple[int, int], placement: Placement | None = None
    ) -> None:
        """All class names must be mapped, and all coordinates count from level 0: placement says what was done to them.

        size: the slide's (width, height), level-0 px.
        """
        self.placement = placement or Placement(drawing.format, "level0")
        self.ignored: Counter[str] = Counter(drawing.ignored)
        self._size = size
        self._regions = _mapped(drawing, config, self.ignored)
        self._classed = [region for region in self._regions if region.fine != EXCLUDED_PX]
        self.fine = frozenset(region.fine for region in self._classed)
        self._bounds = _bounds(self._regions)
        self.bounds = self._clipped_bounds()
        self.digest = self._digest(config)

    def label(self, corner: tuple[float, float], step: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
        label = np.full((size[1], size[0]), UNLABELLED, np.uint8)
        slide = window_of((0, 0, *self._size), corner, step, size)
        right, bottom = corner[0] + size[0] * step[0], corner[1] + size[1] * step[1]
        low, high = self._bounds[:, :2], self._bounds[:, 2:]
        near = (low <= (right, bottom)).all(axis=1) & (high >= corner).all(axis=1)
        for index in np.flatnonzero(near).tolist():
            region = self._regions[index]
            window = overlap(window_of(region.exterior.bounds, corner, step, size), slide)
            if window is not None:
                x0, y0, x1, y1 = window
                np.copyto(label[y0:y1, x0:x1], region.fine, where=region.fill(corner, step, window))
        return label

    def outlines(self, tolerance: float) -> list[tuple[int, np.ndarray]]:
        rings = [(region.fine, ring) for region in self._regions for ring in (region.exterior, *region.holes)]
        return [(fine, _simplified(ring.points, tolerance)) for fine, ring in rings]

    def _clipped_bounds(self) -> tuple[float, float, float, float] | None:
        reach = self.reach
        if reach is None:
            return None
        x0, y0 = np.maximum(reach[:2], 0).tolist()
        x1, y1 = np.minimum(reach[2:], self._size).tolist()
        return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None

    @property
    def reach(self) -> tuple[float, float, float, float] | None:
        """x0, y0, x1, y1 of all that was drawn and has a class, on the slide or off it."""
        bounds = _bounds(self._classed)
        if len(bounds) == 0:
            return None
        return (*bounds[:, :2].min(axis=0).tolist(), *bounds[:, 2:].max(axis=0).tolist())

    def off(self, scanned: tuple[float, float, float, float]) -> OffSlide:
        """How much of what has a class lies outside the box `scanned` (x0, y0, x1, y1), level-0 px.

        What is excluded may reach over the edge: people draw that generously.
        """
        return off_slide(self._classed, scanned)

    def _digest(self, config: ShardsConfig) -> str:
        digest = hashlib.sha256()
        for region in self._regions:
            rings = (region.exterior, *region.holes)
            name = EXCLUDED if region.fine == EXCLUDED_PX else config.fine_classes[region.fine]
            digest.update(f"{name}\0{[len(ring.points) for ring in rings]}\0".encode())
            for ring in rings:
                digest.update(ring.points.astype("<f8").tobytes())
        return digest.hexdigest()


def is_hole(shape: Shape, drawing: Drawing, config: ShardsConfig) -> bool:
    """Cut from what contains it, and of no class of its own."""
    target = config.annotation_classes.get(shape.name)
    if shape.hole or (target is None and shape.name in drawing.hole_names):
        return True
    return target == HOLE


def _mapped(drawing: Drawing, config: ShardsConfig, ignored: Counter[str]) -> list[Region]:
    """Regions from weak to strong, of one strength in the file's order; separate holes are cut."""
    ids = {name: number for number, name in enumerate(config.fine_classes)} | {EXCLUDED: EXCLUDED_PX}
    holes, regions = [], []
    for shape in drawing.shapes:
        if is_hole(shape, drawing, config):
            holes.append(shape)
        elif (target := config.annotation_classes[shape.name]) == IGNORED:
            ignored[shape.name] += 1
        else:
            regions.append(Region(shape, ids[target]))
    _cut(holes, regions, ignored)
    strength = {ids[name]: rank for rank, name in enumerate((*config.weak_to_strong, EXCLUDED))}
    return sorted(regions, key=lambda region: strength[region.fine])


def _cut(holes: list[Shape], regions: list[Region], ignored: Counter[str]) -> None:
    """Cut each hole from every region that holds most of it; where none does, from every region that it overlaps.

    Nothing under a hole is labelled by what it was cut into, nor by what that lies in. A hole in a region that is excluded
    altogether does not open the excluded one.
    """
    for hole, around, touched in _owned(holes, regions):
        found = around or touched
        if not found:
            ignored["hole in no region"] += 1
        for region in found:
            if region.fine != EXCLUDED_PX or region is found[0]:
                region.holes.append(hole)


def _owned(holes: list[Shape], regions: list[Region]) -> Iterator[tuple[Ring, list[Region], list[Region]]]:
    """Each hole, the regions of its layer that hold most of it, and all that it overlaps; see owners()."""
    if not holes:
        return
    exteriors = [region.exterior for region in regions]
    layers = np.array([region.layer for region in regions])
    tree = shapely.STRtree([shapely.box(*ring.bounds) for ring in exteriors])
    for shape in holes:
        hole = Ring(shape.rings[0])
        near = [index for index in np.sort(tree.query(shapely.box(*hole.bounds))) if layers[index] == shape.layer]
        around, touched = owners(hole, [exteriors[index] for index in near])
        yield hole, [regions[near[index]] for index in around], [regions[near[index]] for index in touched]


def has_nested_holes(drawing: Drawing, config: ShardsConfig) -> bool:
    """Whether a hole of its own lies in more than one region. At first recipe 6 cut it from the smallest alone."""
    holes = [shape for shape in drawing.shapes if is_hole(shape, drawing, config)]
    if not holes:
        return False
    classed = (shape for shape in drawing.shapes if not is_hole(shape, drawing, config))
    targets = ((shape, config.annotation_classes.get(shape.name, IGNORED)) for shape in classed)
    regions = [Region(shape, 0) for shape, target in targets if target != IGNORED]
    return any(len(around) > 1 for _, around, _ in _owned(holes, regions))


def _bounds(regions: Sequence[Region]) -> np.ndarray:
    """x0, y0, x1, y1 of each, (n, 4)."""
    return np.array([region.exterior.bounds for region in regions]).reshape(-1, 4)


def _simplified(points: np.ndarray, tolerance: float) -> np.ndarray:
    coarse = points[np.r_[True, (np.diff(np.floor(points / (tolerance / 2)), axis=0) != 0).any(axis=1)]]
    closed = shapely.linestrings(np.concatenate([coarse, coarse[:1]]) if len(coarse) > 1 else points[[0, -1, 0]])
    ring = shapely.get_coordinates(shapely.simplify(closed, tolerance / 2, preserve_topology=False))[:-1]
    return ring if len(ring) >= 3 else points[:: max(1, len(points) // 4)]
