"""Which square-ish regions of a slide are annotated: distant from each other, each with a whole look-alike unit."""

import numpy as np
import shapely
from numpy.random import Generator

from shards.phantom.lookalike import Pair

SIDE_UM = (900.0, 1040.0)
APART_UM = 20.0


def choose_regions(
    random: Generator, tissue: shapely.Polygon, pairs: list[Pair], share: float
) -> list[shapely.Polygon]:
    """Regions until `share` of the tissue's area is annotated: one unit in each, the two kinds in turn, far apart."""
    wanted = share * tissue.area
    chosen: list[Pair] = []
    regions: list[shapely.Polygon] = []
    left = [pairs[i] for i in random.permutation(len(pairs))]
    area = 0.0
    while left and area < wanted:
        kind = "Tumor" if chosen and chosen[-1].kind == "DCIS" else "DCIS"
        left.sort(key=lambda pair: (pair.kind != kind, -_distance(pair, chosen)))
        pair = left.pop(0)
        square = _square(random, pair)
        if any(square.distance(other) < APART_UM for other in regions):
            continue
        chosen.append(pair)
        regions.append(square)
        area += square.intersection(tissue).area
    return regions


def _distance(pair: Pair, chosen: list[Pair]) -> float:
    return min((np.hypot(pair.centre[0] - c.centre[0], pair.centre[1] - c.centre[1]) for c in chosen), default=0.0)


def _square(random: Generator, pair: Pair) -> shapely.Polygon:
    """A hand-drawn square round a unit's centre."""
    half = random.uniform(*SIDE_UM) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + random.uniform(-25, 25, (4, 2))
    return shapely.Polygon(np.array(pair.centre) + random.uniform(-40, 40, 2) + corners)
