"""Surfaces of classes, from strips of a map: how much of a true border has a predicted one near, and the reverse.

A border of class c: cells of c with a neighbour (above, below, left or right) of another training class, both annotated. So the
border of an annotation is no border of tissue. Only border cells are kept, and only of the rows that the tolerance reaches, so that
memory does not grow with the slide's height. All arithmetic is in integers: strips of any height give the same counts.
"""

import math
from dataclasses import dataclass

import torch

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.evaluation.slide_counts import SURFACE

_FIRST_ROWS = 2
"""Nearly all cells that have a border near have it within so many rows: only the others are looked up in all rows."""


@dataclass
class _Side:
    """Border cells of one map, sorted, for each class. keys: row * stride + column; due: how many of the first are counted."""

    keys: list[torch.Tensor]
    last_rows: torch.Tensor | None = None


class SurfaceCounter:
    """add() strips from top to bottom, then finish() once. tolerance: in cells, between the centres of cells."""

    def __init__(self, columns: int, tolerance: float, device: torch.device) -> None:
        self._columns, self._limit = columns, math.floor(tolerance**2 + 1e-9)
        self._reach = math.isqrt(self._limit)
        self._stride = columns + self._reach + 1  # cells of two rows never seem near
        empty = torch.empty(0, dtype=torch.int64, device=device)
        self._sides = [_Side([empty] * len(CLASSES)) for _ in ("true", "predicted")]
        self._counts = torch.zeros((len(CLASSES), len(SURFACE)), dtype=torch.int64, device=device)
        self._rows, self._counted = 0, 0

    def add(self, truth: torch.Tensor, predicted: torch.Tensor) -> None:
        """Training classes of the next rows, uint8 (h, columns); IGNORED in both where a cell has no truth or no answer."""
        for side, classes in zip(self._sides, (truth, predicted), strict=True):
            self._find(side, classes)
        self._rows += len(truth)
        self._count(self._rows - 1 - self._reach)  # whether the last row is a border, the next one says

    def skip(self, rows: int) -> None:
        """The next rows have no truth. rows: how many."""
        blank = torch.full((1, self._columns), IGNORED, dtype=torch.uint8, device=self._counts.device)
        for side in self._sides:
            self._find(side, blank)
            side.last_rows = blank
        self._rows += rows
        self._count(self._rows - 1 - self._reach)

    def finish(self) -> torch.Tensor:
        """Counts (class, SURFACE), int64, on the device."""
        for side in self._sides:
            if side.last_rows is not None:
                self._keep(side, side.last_rows[-1:], _borders(side.last_rows)[-1:], self._rows - 1)
        self._count(self._rows)
        return self._counts

    def _find(self, side: _Side, classes: torch.Tensor) -> None:
        """Borders of all rows but the last one, which waits, with the row above it, for the next strip."""
        above = side.last_rows if side.last_rows is not None else classes[:0]
        known = torch.cat([above, classes])
        begin = max(0, len(above) - 1)  # the row that waited
        if len(known) - 1 > begin:
            there = _borders(known)[begin:-1]
            self._keep(side, known[begin:-1], there, self._rows - len(above) + begin)
        side.last_rows = known[-2:].clone()

    def _keep(self, side: _Side, classes: torch.Tensor, there: torch.Tensor, row: int) -> None:
        for number in range(len(CLASSES)):
            rows, columns = torch.nonzero(there & (classes == number), as_tuple=True)
            side.keys[number] = torch.cat([side.keys[number], (rows + row) * self._stride + columns])

    def _count(self, until: int) -> None:
        """Rows from the last time up to `until`; forgets the border cells that no later row can reach."""
        if until <= self._counted:
            return
        first, last = self._counted * self._stride, until * self._stride
        gone = (until - self._reach) * self._stride
        for number in range(len(CLASSES)):
            keys = [side.keys[number] for side in self._sides]
            for which, (own, other) in enumerate((keys, keys[::-1])):
                due = own[(own >= first) & (own < last)]
                self._counts[number, 2 * which] += len(due)
                if len(due) and len(other):
                    self._counts[number, 2 * which + 1] += self._near(due, other)
            for side, known in zip(self._sides, keys, strict=True):
                side.keys[number] = known[known >= gone]
        self._counted = until

    def _near(self, cells: torch.Tensor, others: torch.Tensor) -> torch.Tensor:
        """How many of `cells` have one of `others` within the tolerance."""
        rows = list(range(-self._reach, self._reach + 1))
        near = self._in_rows(cells, others, [row for row in rows if abs(row) <= _FIRST_ROWS])
        far = cells[~near]
        return near.sum() + self._in_rows(far, others, [row for row in rows if abs(row) > _FIRST_ROWS]).sum()

    def _in_rows(self, cells: torch.Tensor, others: torch.Tensor, rows: list[int]) -> torch.Tensor:
        """Whether each cell has one of `others` near it in one of these rows, bool. rows: counted downwards from the cell's own."""
        if not rows or not len(cells):
            return torch.zeros(len(cells), dtype=torch.bool, device=cells.device)
        below = torch.tensor(rows, device=cells.device)[:, None]
        width = torch.tensor([math.isqrt(self._limit - row * row) for row in rows], device=cells.device)[:, None]
        wanted = cells + below * self._stride
        after = torch.searchsorted(others, wanted)
        right = others[after.clamp(max=len(others) - 1)] - wanted
        left = wanted - others[(after - 1).clamp(min=0)]
        return ((right.abs() <= width) | (left.abs() <= width)).any(dim=0)


def _borders(classes: torch.Tensor) -> torch.Tensor:
    """Cells next to another class, both annotated, bool (h, columns)."""
    known = classes != IGNORED
    out = torch.zeros_like(known)
    down = (classes[1:] != classes[:-1]) & known[1:] & known[:-1]
    across = (classes[:, 1:] != classes[:, :-1]) & known[:, 1:] & known[:, :-1]
    out[1:] |= down
    out[:-1] |= down
    out[:, 1:] |= across
    out[:, :-1] |= across
    return out
