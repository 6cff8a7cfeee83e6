"""Rows of a class map, from the top -> the regions of each class as polygons, with area and mean probability.

A region is what is connected by sides of cells. Its outline follows the cells' sides; where it climbs in steps of one cell,
it takes the middles of the steps instead of their corners. So it leaves the sides by half a cell at most, crosses no cell's
centre, and gives every cell back to its class. Memory grows with the length of the outlines, not with the map.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import shapely

from mlseg_dist.config import CLASSES

_NW, _NE, _SW, _SE = 1, 2, 4, 8
"""Which of the four cells around a corner belong to the class."""
_SADDLES = (_NW | _SE, _NE | _SW)
_AT_ONCE = 1 << 22  # cells
_STRAIGHT = 1e-9


@dataclass(frozen=True)
class Outline:
    """A region. polygon: in cells, (x, y) from the map's top left corner. cells: how many. mean: of its class' probability."""

    class_number: int
    polygon: shapely.Polygon
    cells: int
    mean: float


class Outlines:
    """Collects the corners of all regions; add rows from the top, then finish once."""

    def __init__(self, columns: int) -> None:
        self._columns, self._row = columns, 0
        self._above = np.full(columns, 255, np.uint8)
        self._sums = np.zeros((len(CLASSES), columns), np.int64)
        self._corners: list[list[np.ndarray]] = [[] for _ in CLASSES]

    def add(self, classes: np.ndarray, probabilities: np.ndarray) -> None:
        """classes: uint8 (h, columns), 255 where there is none. probabilities: uint8 (h, columns, 3)."""
        few = max(1, _AT_ONCE // self._columns)
        for first in range(0, len(classes), few):
            self._add(classes[first : first + few], probabilities[first : first + few])

    def _add(self, classes: np.ndarray, probabilities: np.ndarray) -> None:
        both = np.vstack([self._above[None], classes])
        for number in range(len(CLASSES)):
            mask = np.pad(both == number, ((0, 0), (1, 1)))
            if mask.any():
                weights = np.where(mask[1:, 1:-1], probabilities[..., number], 0).astype(np.int64)
                self._corners[number].append(self._found(number, mask, weights))
        self._above = classes[-1].copy()
        self._row += len(classes)

    def finish(self) -> Iterator[Outline]:
        """Class by class, in each the largest first."""
        nothing = np.full((1, self._columns), 255, np.uint8)
        self.add(nothing, np.zeros((1, self._columns, len(CLASSES)), np.uint8))
        for number, parts in enumerate(self._corners):
            if parts:
                corners = np.concatenate(parts, axis=1)
                parts.clear()
                yield from _regions(number, corners)

    def _found(self, number: int, mask: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Corners between the rows of mask, int64 (4, n): x, y, which cells around are of the class, and the sum of the weights
        of all cells above and to the left."""
        code = (
            mask[:-1, :-1] * _NW + mask[:-1, 1:] * _NE + mask[1:, :-1] * np.uint8(_SW) + mask[1:, 1:] * np.uint8(_SE)
        ).astype(np.uint8)
        y, x = np.nonzero(_IS_CORNER[code])
        # Sums over all rows above a corner: of the rows before these, and of these down to it.
        rows = np.vstack([self._sums[number][None], weights]).cumsum(axis=0)
        left = np.zeros((len(rows), rows.shape[1] + 1), np.int64)
        np.cumsum(rows, axis=1, out=left[:, 1:])
        self._sums[number] = rows[-1]
        return np.stack([x, y + self._row, code[y, x], left[y, x]]).astype(np.int64)


def _corner_table() -> np.ndarray:
    """bool (256,): one or three of the four cells, or two that touch only there."""
    table = np.zeros(256, bool)
    for code in range(16):
        table[code] = code.bit_count() in (1, 3) or code in _SADDLES
    return table


_IS_CORNER = _corner_table()


@dataclass(frozen=True)
class _Rings:
    """Simple closed rings, one after the other. points: (n, 2) corners, each once. ring: which ring each is part of, from 0.

    before, after: places of a corner's neighbours in its ring. Of each ring: top, the place of its topmost, then leftmost corner;
    cells and weight of all that it encloses, of its class and whatever lies inside.
    """

    points: np.ndarray
    ring: np.ndarray
    before: np.ndarray
    after: np.ndarray
    top: np.ndarray
    is_hole: np.ndarray
    cells: np.ndarray
    weight: np.ndarray


def _regions(number: int, corners: np.ndarray) -> list[Outline]:
    rings = _rings(*corners)
    shells, holes = np.flatnonzero(~rings.is_hole), np.flatnonzero(rings.is_hole)
    region = np.empty(len(rings.is_hole), np.int64)  # of each ring
    region[shells] = np.arange(len(shells))
    region[holes] = _owners(rings, shells, holes)
    sign = np.where(rings.is_hole, -1, 1)
    cells, weight = (np.zeros(len(shells), np.int64) for _ in range(2))
    np.add.at(cells, region, sign * rings.cells)
    np.add.at(weight, region, sign * rings.weight)
    polygons = _polygons(rings, region)
    found = [
        Outline(number, polygon, size, total / size / 255)
        for polygon, size, total in zip(polygons, cells.tolist(), weight.tolist(), strict=True)
    ]
    return sorted(found, key=lambda one: (-one.cells, one.polygon.bounds))


def _rings(x: np.ndarray, y: np.ndarray, code: np.ndarray, sums: np.ndarray) -> _Rings:
    """Corners of one class -> the rings through them.

    Along a row of corners the first is joined to the second, the third to the fourth, and so on; along a column likewise. Where two
    cells of the class touch at a corner only, two outlines pass, so that it counts twice and its copies keep to one cell each.
    """
    saddle = np.isin(code, _SADDLES)
    index = np.repeat(np.arange(len(x)), 1 + saddle)
    copy = np.zeros(len(index), np.int64)
    copy[1:] = index[1:] == index[:-1]  # the first copy has the side to its left, the second that to its right
    x, y, code, sums = x[index], y[index], code[index], sums[index]
    across = _joined(np.lexsort((copy, x, y)))
    lower_first = np.where(code == (_NE | _SW), 1 - copy, copy)  # the left side of that one belongs to the lower cell
    down = _joined(np.lexsort((lower_first, y, x)))
    places = index.tolist()
    loops = [loop for path in _cycles(across, down) for loop in _simple(path, places)]
    lengths = np.array([len(loop) for loop in loops])
    flat = np.fromiter((corner for loop in loops for corner in loop), np.int64, lengths.sum())
    x, y, code, sums = x[flat], y[flat], code[flat], sums[flat]
    ring = np.repeat(np.arange(len(loops)), lengths)
    before, after = _neighbours(lengths)
    first = np.cumsum(lengths) - lengths
    top = np.lexsort((x, y, ring))[first]  # to the lower right of it lies the inside
    is_down = x == x[after]
    cells = np.add.reduceat(np.where(is_down, x * (y[after] - y), 0), first)
    weight = np.add.reduceat(np.where(is_down, sums[after] - sums, 0), first)
    is_hole = (code[top] & _SE) == 0
    return _Rings(np.stack([x, y], axis=1), ring, before, after, top, is_hole, np.abs(cells), np.abs(weight))


def _joined(order: np.ndarray) -> np.ndarray:
    """Partner of each corner, where neighbours in `order` are joined in pairs."""
    partner = np.empty(len(order), np.int64)
    partner[order[::2]], partner[order[1::2]] = order[1::2], order[::2]
    return partner


def _cycles(across: np.ndarray, down: np.ndarray) -> Iterator[list[int]]:
    """Corners in turn, along sides that go across and down by turns, the first of them across."""
    right, below = across.tolist(), down.tolist()
    seen = bytearray(len(right))
    for start in range(len(right)):
        if seen[start]:
            continue
        path, at = [], start
        while not seen[at]:
            other = right[at]
            path += [at, other]
            seen[at] = seen[other] = 1
            at = below[other]
        yield path


def _simple(path: list[int], place: list[int]) -> Iterator[list[int]]:
    """Parts the path where it passes a place again. place: of each corner; copies of one share it."""
    places = [place[corner] for corner in path]
    if len(set(places)) == len(places):
        yield path
        return
    kept: list[int] = []
    at: dict[int, int] = {}
    for corner, here in zip(path, places, strict=True):
        if here in at:
            first = at[here]
            loop = kept[first:]
            for gone in loop:
                at.pop(place[gone], None)
            del kept[first:]
            yield loop
        at[here] = len(kept)
        kept.append(corner)
    yield kept


def _neighbours(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Places of the corner before and after each, in rings of these lengths that lie one after the other."""
    last = np.cumsum(lengths) - 1
    first = last + 1 - lengths
    before, after = np.arange(lengths.sum()) - 1, np.arange(lengths.sum()) + 1
    before[first], after[last] = last, first
    return before, after


def _owners(rings: _Rings, shells: np.ndarray, holes: np.ndarray) -> np.ndarray:
    """For each hole, the place in `shells` of the smallest one around it."""
    corner = rings.points[rings.top[holes]]
    beside = shapely.points(corner + np.array([0.5, -0.5]))  # centre of the cell above its top left corner
    renumbered = np.full(len(rings.is_hole), -1)
    renumbered[shells] = np.arange(len(shells))
    of = renumbered[rings.ring]
    lines = shapely.linearrings(rings.points[of >= 0].astype(float), indices=of[of >= 0])
    shell, hole = shapely.STRtree(beside).query(shapely.polygons(lines), predicate="contains")
    found = np.full(len(holes), -1)
    order = np.argsort(-rings.cells[shells[shell]], kind="stable")  # the smallest is written last
    found[hole[order]] = shell[order]
    return found


def _polygons(rings: _Rings, region: np.ndarray) -> np.ndarray:
    """One a region. region: of each ring. Where steps cannot be smoothed without crossing, the outline follows the cells."""
    order = np.lexsort((rings.is_hole, region))  # a region's shell, then its holes
    smooth, ring = _smooth(rings)
    made = _assembled(smooth, ring, order, region)
    bad = np.flatnonzero(~shapely.is_valid(made))
    if len(bad):
        kept = np.isin(region[rings.ring], bad)
        exact = _assembled(
            rings.points[kept].astype(float), rings.ring[kept], order[np.isin(region[order], bad)], region
        )
        made[bad] = exact
    return made


def _assembled(points: np.ndarray, ring: np.ndarray, order: np.ndarray, region: np.ndarray) -> np.ndarray:
    """Polygons of the rings in `order`, a shell before its holes. points of whole rings, ring after ring."""
    numbers, place = np.unique(ring, return_inverse=True)
    lines = np.empty(int(numbers[-1]) + 1, object)
    lines[numbers] = shapely.linearrings(points, indices=place)
    of = region[order]
    return shapely.polygons(lines[order], indices=np.cumsum(np.r_[0, np.diff(of) != 0]))


def _smooth(rings: _Rings) -> tuple[np.ndarray, np.ndarray]:
    """Corners, with the two ends of each step of one cell between opposite turns replaced by its middle; and their rings.

    Not where a side lies between a step up and a step down: it would move as a whole, onto the centres of its cells.
    """
    points, before, after = rings.points, rings.before, rings.after
    side = points[after] - points
    turn = np.sign(_cross(side[before], side))
    is_step = (np.abs(side).sum(axis=1) == 1) & (turn * turn[after] < 0)
    second = after[after]
    turns_back = is_step & is_step[second] & (side == -side[second]).all(axis=1)
    is_step &= ~(turns_back | turns_back[before[before]])
    out = np.where(is_step[:, None], (points + points[after]) / 2, points.astype(float))
    is_end = is_step[before] & ~is_step
    out, ring = out[~is_end], rings.ring[~is_end]
    before, after = _neighbours(np.bincount(ring))
    bends = np.abs(_cross(out - out[before], out[after] - out)) > _STRAIGHT
    return out[bends], ring[bends]


def _cross(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return first[:, 0] * second[:, 1] - first[:, 1] * second[:, 0]
