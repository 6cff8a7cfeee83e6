"""Which square-ish regions of a slide are annotated: distant from each other, each with a whole look-alike unit."""

import numpy as np
import shapely
from numpy.random import Generator

from shards.phantom.lookalike import LookalikePair

SIDE_UM = (900.0, 1040.0)
APART_UM = 20.0
ATTEMPTS = 16


def choose_regions(
    random: Generator, tissue: shapely.Polygon, pairs: list[LookalikePair], share: float
) -> list[shapely.Polygon]:
    """Regions until `share` of the tissue's area is annotated: one unit in each, the two kinds in turn.

    Squares shut each other out, so several random choices are tried and the fullest balanced one is kept.
    """
    best: tuple[float, list[shapely.Polygon]] = (-1.0, [])
    for _ in range(ATTEMPTS):
        chosen = _attempt(random, tissue, pairs, share * tissue.area)
        area = sum(region.intersection(tissue).area for _, region in chosen)
        dcis = sum(kind == "DCIS" for kind, _ in chosen)
        uneven = abs(2 * dcis - len(chosen))
        score = min(area, share * tissue.area) - 0.5 * uneven * SIDE_UM[0] ** 2
        if score > best[0]:
            best = score, [region for _, region in chosen]
    return best[1]


def _attempt(
    random: Generator, tissue: shapely.Polygon, pairs: list[LookalikePair], wanted: float
) -> list[tuple[str, shapely.Polygon]]:
    """Squares round units in a random order, kinds in turn while both are left, none nearer than APART_UM."""
    chosen: list[tuple[str, shapely.Polygon]] = []
    left = [(pairs[i].kind, _square(random, pairs[i])) for i in random.permutation(len(pairs))]
    area = 0.0
    while left and area < wanted:
        last = chosen[-1][0] if chosen else ""
        left.sort(key=lambda item: item[0] == last)
        kind, square = left.pop(0)
        chosen.append((kind, square))
        area += square.intersection(tissue).area
        left = [item for item in left if item[1].distance(square) >= APART_UM]
    return chosen


def _square(random: Generator, pair: LookalikePair) -> shapely.Polygon:
    """A hand-drawn square round a unit's centre."""
    half = random.uniform(*SIDE_UM) / 2
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half + random.uniform(-25, 25, (4, 2))
    return shapely.Polygon(np.array(pair.centre) + random.uniform(-40, 40, 2) + corners)
