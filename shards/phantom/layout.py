"""Where everything lies on a slide, in µm from its corner: a specimen in, a Layout out. No pixels here.

`plan` is a pure function of the specimen; the drawing and the annotation both follow from it, so they agree.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.random import Generator

from mlseg_core.randomness import generator
from shards.phantom.lookalike import BAND_UM, LookalikePair, place
from shards.phantom.regions import choose_regions
from shards.phantom.shapes import Points, blob, piece, polygon, polygons
from shards.phantom.table import Specimen

GRID_UM = 10.0
"""Cell of the map of free room."""


@dataclass(frozen=True)
class Thing:
    """An object or artefact. kind: its annotation class. parts: outlines of rosettes (Acini) or the lumen (Vessel)."""

    kind: str
    shape: shapely.Polygon
    parts: list[Points]


@dataclass(frozen=True)
class Layout:
    """All shapes of a slide in µm. regions: what is annotated, completely."""

    size_um: float
    tissue: shapely.Polygon
    pairs: list[LookalikePair]
    things: list[Thing]
    artefacts: list[Thing]
    regions: list[shapely.Polygon]


def plan(specimen: Specimen) -> Layout:
    """Lay out a slide."""

    def random(part: str) -> Generator:
        return generator(specimen.seed, "phantom", specimen.layout_name, part)

    size = specimen.size_um
    tissue = _outline(random("tissue"), size)
    pairs = place(random("pairs"), tissue, specimen.decoys)
    room = _Room(size, tissue, pairs)
    things = _objects(random("objects"), room, size)
    slide = shapely.box(4, 4, size - 4, size - 4)
    chosen = choose_regions(random("regions"), tissue, pairs, specimen.annotated)
    regions = [part for region in chosen for part in polygons(region.intersection(slide))]
    artefacts = _artefacts(random("artefacts"), tissue, pairs, regions, specimen.artefacts)
    return Layout(size, tissue, pairs, things, artefacts, regions)


def _outline(random: Generator, size: float) -> shapely.Polygon:
    """Tissue: a rounded square with an uneven border, glass all round."""
    points = blob(random, np.zeros(2), 1.0, 0.035, 180)
    fine = blob(random, np.zeros(2), 1.0, 0.02, 180)
    angle = np.arctan2(points[:, 1], points[:, 0])
    square = (np.abs(np.cos(angle)) ** 5 + np.abs(np.sin(angle)) ** 5) ** (-1 / 5)
    radius = np.hypot(*points.T) * np.hypot(*fine.T) * square * 0.465 * size
    outline = size / 2 + np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    return polygon(np.clip(outline, 0.01 * size, 0.99 * size))


class _Room:
    """A coarse map of where objects may still go. Both kinds of unit block the same places, so objects tell nothing."""

    def __init__(self, size: float, tissue: shapely.Polygon, pairs: list[LookalikePair]) -> None:
        side = int(size / GRID_UM)
        self.free = np.zeros((side, side), np.uint8)
        cv2.fillPoly(self.free, [_cells(np.asarray(tissue.exterior.coords))], 1)
        for pair in pairs:
            centre = _cells(np.array([pair.centre]))[0].tolist()
            middle = pair.inner + BAND_UM / 2 + 5
            cv2.circle(self.free, centre, int((pair.radius + 25) / GRID_UM), 0, -1)
            cv2.circle(self.free, centre, int(middle / GRID_UM), 0, int((BAND_UM + 30) / GRID_UM))
            for line in pair.band:
                cv2.polylines(self.free, [_cells(line)], pair.closed, 0, int((BAND_UM + 30) / GRID_UM))

    def take(self, random: Generator, radius: float) -> Points | None:
        """A random place with that much room, now taken; None when there is none."""
        distance = cv2.distanceTransform(self.free, cv2.DIST_L2, 5) * GRID_UM
        rows, columns = np.nonzero(distance > radius + 15)
        if not rows.size:
            return None
        pick = int(random.integers(rows.size))
        centre = np.array([columns[pick], rows[pick]], float) * GRID_UM
        cv2.circle(self.free, _cells(centre[None])[0].tolist(), int((radius + 15) / GRID_UM), 0, -1)
        return centre


def _cells(points: Points) -> np.ndarray:
    return np.round(points / GRID_UM).astype(np.int32)


_PER_16_MM2 = {
    "Normal": (9, 90, 150),
    "Necrosis": (5, 45, 70),
    "Lymph": (6, 40, 65),
    "Acini": (10, 50, 72),
    "Vessel": (14, 22, 45),
}
"""Kind -> (how many on 4×4 mm, smallest, largest radius in µm), in the order of placing."""


def _objects(random: Generator, room: _Room, size: float) -> list[Thing]:
    things = []
    for kind, (count, low, high) in _PER_16_MM2.items():
        for _ in range(round(count * (size / 4000) ** 2)):
            radius = float(random.uniform(low, high))
            centre = room.take(random, radius)
            if centre is None:
                continue
            things.append(_object(random, kind, centre, radius))
    return things


def _object(random: Generator, kind: str, centre: Points, radius: float) -> Thing:
    if kind == "Acini":
        return _lobule(random, centre, radius)
    if kind == "Vessel":
        outer = blob(random, np.zeros(2), radius * 0.9, 0.06) * random.uniform(0.75, 1.0, 2) + centre
        wall = random.uniform(0.22, 0.32)
        return Thing(kind, polygon(outer), [centre + (outer - centre) * (1 - wall)])
    return Thing(kind, polygon(blob(random, centre, radius * 0.9, 0.12)), [])


def _lobule(random: Generator, centre: Points, radius: float) -> Thing:
    """A group of acini: discs of cells round a lumen, side by side."""
    parts: list[Points] = []
    middles: list[tuple[Points, float]] = []
    for _ in range(60):
        size = float(random.uniform(21, 29))
        turn, away = random.uniform(0, 2 * np.pi), (radius - size) * np.sqrt(random.random())
        at = centre + away * np.array([np.cos(turn), np.sin(turn)])
        if all(np.hypot(*(at - other)) > size + r + 3 for other, r in middles):
            middles.append((at, size))
            parts.append(blob(random, at, size, 0.05, 32))
    hull = shapely.union_all([polygon(part) for part in parts]).buffer(9).buffer(-4)
    if isinstance(hull, shapely.MultiPolygon):
        hull = shapely.union_all([polygon(part) for part in parts]).convex_hull
    return Thing("Acini", shapely.Polygon(hull.exterior), parts)


def _artefacts(
    random: Generator, tissue: shapely.Polygon, pairs: list[LookalikePair], regions: list[shapely.Polygon], count: int
) -> list[Thing]:
    """Folds, bubbles, blurred areas: each first inside a region, and off the masses, whose labels are dear."""
    things: list[Thing] = []
    masses = shapely.union_all([pair.mass for pair in pairs]) if pairs else shapely.Polygon()
    for kind in ("Fold", "Bubble", "Blur"):
        for _ in range(count):
            for _ in range(60):
                thing = _artefact(random, kind, regions, tissue)
                alone = all(not thing.shape.intersects(other.shape) for other in things)
                if alone and thing.shape.distance(masses) > 10 and tissue.contains(thing.shape):
                    things.append(thing)
                    break
    return things


def _artefact(random: Generator, kind: str, regions: list[shapely.Polygon], tissue: shapely.Polygon) -> Thing:
    west, south, east, north = (regions[int(random.integers(len(regions)))] if regions else tissue).bounds
    centre = random.uniform((west, south), (east, north))
    if kind == "Fold":
        line = piece(random, centre, random.uniform(0, np.pi), random.uniform(250, 450))
        return Thing(kind, shapely.LineString(line).buffer(random.uniform(13, 22)), [line])
    if kind == "Bubble":
        return Thing(kind, polygon(blob(random, centre, random.uniform(45, 75), 0.03)), [])
    return Thing(kind, polygon(blob(random, centre, random.uniform(60, 95), 0.1)), [])
