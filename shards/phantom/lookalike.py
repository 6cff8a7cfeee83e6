"""The look-alike pair: Tumor and DCIS masses come from one generator and differ only in what lies round them.

Round a DCIS mass, at GAP µm beyond its farthest edge, runs a closed concentric cuff of band material (dense collagen).
Round a Tumor mass the same material, in like amount, lies beyond the same distance as open pieces that point away from
the mass. GAP is wider than the high view (256 µm): a high view centred on any pixel of a mass shows no band material, and
an unrotated one that shows both does not exist. The low view (1024 µm) shows the whole.
"""

from dataclasses import dataclass

import numpy as np
import shapely
from numpy.random import Generator

from shards.phantom.shapes import Points, nests, piece, ring

GAP_UM = 270.0
BAND_UM = 44.0
MASS_UM = (95.0, 122.0)
"""Smallest and largest radius of a mass."""
PIECE_UM = 150.0
"""Length of an open piece, and so how far Tumor's pieces reach beyond the inner edge of a cuff."""
SPACING_UM = 15.0


@dataclass(frozen=True)
class LookalikePair:
    """One unit: a mass and the band material that belongs to it. band: centre lines; closed for DCIS."""

    kind: str
    centre: tuple[float, float]
    radius: float
    mass: shapely.Polygon
    band: list[Points]
    closed: bool

    @property
    def inner(self) -> float:
        """Distance from the centre within which no band material lies."""
        return self.radius + GAP_UM


def reach(kind: str, radius: float) -> float:
    """Radius of a unit's footprint."""
    return radius + GAP_UM + (BAND_UM + 14 if kind == "DCIS" else 0.6 * PIECE_UM)


def place(random: Generator, tissue: shapely.Polygon, decoys: float) -> list[LookalikePair]:
    """Pack as many units as fit, kinds in turn."""
    west, south, east, north = tissue.bounds
    candidates = random.uniform((west, south), (east, north), (6000, 2))
    inside = shapely.contains_xy(tissue, candidates)
    candidates = candidates[inside]
    to_edge = shapely.distance(shapely.points(candidates), tissue.exterior)
    centres: list[Points] = []
    radii: list[float] = []
    kinds: list[str] = []
    first = int(random.integers(2))
    while True:
        kind = ("Tumor", "DCIS")[(first + len(centres)) % 2]
        radius = float(random.uniform(*MASS_UM))
        room = reach(kind, radius)
        fits = to_edge > 0.93 * room
        gaps = np.full(len(candidates), np.inf)
        for centre, other, other_kind in zip(centres, radii, kinds, strict=True):
            distance = np.hypot(*(candidates - centre).T)
            needed = room + reach(other_kind, other) + SPACING_UM
            fits &= distance >= needed
            gaps = np.minimum(gaps, distance - needed)
        if not fits.any():
            break
        # The tightest place first: beside the border, then beside a neighbour. It packs nearly twice what darts do.
        slack = np.minimum(gaps, 1e4) + (to_edge - room)
        best = int(np.argmin(np.where(fits, slack, np.inf)))
        centres.append(candidates[best])
        radii.append(radius)
        kinds.append(kind)
    return [_unit(random, tissue, i, centres, radii, kinds, decoys) for i in range(len(centres))]


def _unit(
    random: Generator,
    tissue: shapely.Polygon,
    index: int,
    centres: list[Points],
    radii: list[float],
    kinds: list[str],
    decoys: float,
) -> LookalikePair:
    centre, radius, kind = centres[index], radii[index], kinds[index]
    mass = nests(random, centre, radius)
    inner = radius + GAP_UM
    if kind == "DCIS":
        band = [ring(random, centre, inner, BAND_UM)]
    else:
        others = [
            (c, r + GAP_UM + (BAND_UM + 20 if k == "DCIS" else 0))
            for j, (c, r, k) in enumerate(zip(centres, radii, kinds, strict=True))
            if j != index
        ]
        # A quarter more than a cuff's length: pieces reach out of the low view, cuffs do not.
        band = _pieces(random, tissue, centre, inner, others, decoys * 1.25 * 2 * np.pi * (inner + BAND_UM / 2))
    return LookalikePair(kind, (float(centre[0]), float(centre[1])), radius, mass, band, kind == "DCIS")


def _pieces(
    random: Generator,
    tissue: shapely.Polygon,
    centre: Points,
    inner: float,
    others: list[tuple[Points, float]],
    total: float,
) -> list[Points]:
    """Open pieces of `total` µm in all, pointing away from the centre, outside the inner discs of every unit."""
    made: list[Points] = []
    laid = 0.0
    taken: list[shapely.Polygon] = []
    for _ in range(400):
        if laid >= total:
            break
        length = PIECE_UM * random.uniform(0.75, 1.15)
        turn = random.uniform(0, 2 * np.pi)
        tilt = turn + np.radians(random.uniform(-25, 25))
        away = inner + BAND_UM / 2 + length / 2 * random.uniform(1.0, 1.25)
        line = piece(random, centre + away * np.array([np.cos(turn), np.sin(turn)]), tilt, length)
        clear = [np.hypot(*(line - c).T) >= r + BAND_UM / 2 for c, r in [(centre, inner), *others]]
        line = _longest_run(line, np.all(clear, axis=0))
        if len(line) < 4:
            continue
        drawn = shapely.LineString(line).buffer(BAND_UM / 2 + 4)
        if shapely.intersects(drawn, taken).any() or not tissue.contains(shapely.Point(line[len(line) // 2])):
            continue
        taken.append(drawn)
        made.append(line)
        laid += float(shapely.LineString(line).length) + 0.8 * BAND_UM
    return made


def _longest_run(line: Points, keep: np.ndarray) -> Points:
    """The longest unbroken stretch of the points to keep."""
    best, start = (0, 0), 0
    for i in range(len(line) + 1):
        if i == len(line) or not keep[i]:
            if i - start > best[1] - best[0]:
                best = (start, i)
            start = i + 1
    return line[best[0] : best[1]]
