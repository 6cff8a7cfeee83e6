"""Regions of interest of a slide, row by row, and the patches that each needs. Loads no torch."""

from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from mlseg_dist.whole_slide.grid import SlideGrid
from shards.annotation import EXCLUDED_PX, UNLABELLED, Annotation
from shards.audit.tissue import TissueMask

RegionName = Literal["annotations", "tissue", "all"]
_LABEL_COLUMNS = 8192  # cells that are rasterised at a time


class Region(Protocol):
    """Which cells of a map are of interest."""

    @property
    def span(self) -> tuple[int, int]:
        """Rows [first, last) outside of which no cell is."""
        ...

    def rows(self, first: int, last: int) -> np.ndarray:
        """Cells of rows [first, last), bool (last - first, columns)."""
        ...


@dataclass(frozen=True)
class Everywhere:
    """All cells of the slide."""

    grid: SlideGrid

    @property
    def span(self) -> tuple[int, int]:
        return 0, self.grid.size[0]

    def rows(self, first: int, last: int) -> np.ndarray:
        return np.ones((last - first, self.grid.size[1]), bool)


class OnTissue:
    """Cells whose centre lies on tissue."""

    def __init__(self, grid: SlideGrid, tissue: TissueMask) -> None:
        self._mask = tissue.mask
        self._row, self._column = (
            np.minimum(((np.arange(cells) + 0.5) * step / scale).astype(np.int64), length - 1)
            for cells, step, scale, length in zip(
                grid.size, grid.cell_level0[::-1], tissue.scale[::-1], tissue.mask.shape, strict=True
            )
        )
        found = np.flatnonzero(np.asarray(tissue.mask.any(axis=1))[self._row])
        self.span = (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)

    def rows(self, first: int, last: int) -> np.ndarray:
        return self._mask[self._row[first:last, None], self._column[None, :]]


class Annotated:
    """Cells whose centre somebody annotated, with whatever class, and did not exclude.

    span, columns: rows and columns outside of which none is.
    """

    def __init__(self, grid: SlideGrid, annotation: Annotation) -> None:
        self._grid, self._annotation = grid, annotation
        self._last: tuple[int, int, np.ndarray] | None = None
        self.span, self.columns = (0, 0), (0, 0)
        if annotation.bounds is not None:
            self.columns, self.span = (
                (max(0, int(np.floor(first / step))), min(length, int(np.ceil(last / step))))
                for first, last, step, length in zip(
                    annotation.bounds[:2], annotation.bounds[2:], grid.cell_level0, grid.size[::-1], strict=True
                )
            )

    def rows(self, first: int, last: int) -> np.ndarray:
        return self.fine(first, last) < EXCLUDED_PX

    def fine(self, first: int, last: int) -> np.ndarray:
        """Fine class ids of the cells of rows [first, last), uint8 (last - first, columns); else EXCLUDED_PX or UNLABELLED.

        Asked for the same rows again it gives the same array: a strip's region, then its labels.
        """
        if self._last is None or self._last[:2] != (first, last):
            self._last = (first, last, self._drawn(first, last))
        return self._last[2]

    def _drawn(self, first: int, last: int) -> np.ndarray:
        columns = self._grid.size[1]
        out = np.full((last - first, columns), UNLABELLED, np.uint8)
        if last <= self.span[0] or first >= self.span[1]:
            return out
        for left in range(0, columns, _LABEL_COLUMNS):
            width = min(_LABEL_COLUMNS, columns - left)
            corner = self._grid.corner(first, left)
            out[:, left : left + width] = self._annotation.label(corner, self._grid.cell_level0, (width, last - first))
        return out


def wanted_patches(grid: SlideGrid, region: Region, halo_px: int) -> list[np.ndarray]:
    """For each row of patches, the columns of those that the region needs, int64.

    A patch is needed when its middle, grown by `halo_px` on all sides, touches the region.
    """
    rows, columns = grid.patches
    height, width = grid.size
    left, right = np.array([grid.cells_of(column, halo_px, width) for column in range(columns)]).T
    found = []
    for row in range(rows):
        first, last = grid.cells_of(row, halo_px, height)
        first, last = max(first, region.span[0]), min(last, region.span[1])
        if first >= last:
            found.append(np.empty(0, np.int64))
            continue
        before = np.concatenate([[0], np.cumsum(region.rows(first, last).any(axis=0))])
        found.append(np.flatnonzero(before[np.maximum(left, right)] > before[left]).astype(np.int64))
    return found


def full_blend(grid: SlideGrid) -> int:
    """The halo, high px, with which every patch that reaches the region is predicted.

    Then cells of the region get the very values that predicting the whole slide would give them.
    """
    return -(-(grid.patch - grid.step) // 2)
