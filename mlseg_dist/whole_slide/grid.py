"""Where patches and cells lie on a slide. Pure arithmetic; loads no torch.

Three resolutions: level-0 px of the slide file; high px of `high_mpp` µm, which the network sees; cells of the map, each
`cell_px` high px wide. The origin of all three is the slide's top left corner.
"""

import math
from dataclasses import dataclass

from mlseg_core.errors import UserError

OVERLAP = 0.25
"""How much neighbouring patches overlap, as a share of their side: 1.78 forwards per patch area."""
MOST_OVERLAP = 0.75
_FEWEST_CELLS = 8  # along a patch


@dataclass(frozen=True)
class SlideGrid:
    """size: the slide's (rows, columns) in cells. Lengths in high px: patch (a view's side), step (between patches), shift.

    mpp: level-0 µm/px (x, y). ratio: low µm/px over high µm/px. shift: how far the patches are moved up and left, for
    measuring seams. Patches begin on whole cells, and their centres lie on whole px of the low view, so that both views are
    cut from planes whose pixels are computed once.
    """

    size: tuple[int, int]
    patch: int
    step: int
    cell_px: int
    ratio: int
    high_mpp: float
    mpp: tuple[float, float]
    shift: int = 0

    @property
    def cell_um(self) -> float:
        """Side of a cell, µm."""
        return self.high_mpp * self.cell_px

    @property
    def cell_level0(self) -> tuple[float, float]:
        """Level-0 px per cell (x, y)."""
        return self.cell_um / self.mpp[0], self.cell_um / self.mpp[1]

    @property
    def forwards_per_area(self) -> float:
        """How often the network sees a high px, away from the borders of the region."""
        return (self.patch / self.step) ** 2

    @property
    def patches(self) -> tuple[int, int]:
        """Rows and columns of patches: as many as it takes for every cell to lie in the middle of one."""
        rows, columns = (self._count(length * self.cell_px) for length in self.size)
        return rows, columns

    def start(self, number: int) -> int:
        """Where the number-th row or column of patches begins, high px; may lie off the slide."""
        return self._first + number * self.step

    def centre_level0(self, row: int, column: int) -> tuple[float, float]:
        """Centre of a patch, level-0 px (x, y)."""
        x, y = (self.start(number) + self.patch / 2 for number in (column, row))
        return x * self.high_mpp / self.mpp[0], y * self.high_mpp / self.mpp[1]

    def cells_of(self, number: int, reach: int, length: int) -> tuple[int, int]:
        """Cells [first, last) of [0, length) that the middle of a patch (step x step), grown by `reach` high px, touches."""
        first = self.start(number) + (self.patch - self.step) // 2
        low, high = first - reach, first + self.step + reach
        return max(0, low // self.cell_px), min(length, -(-high // self.cell_px))

    def corner(self, row: int, column: int) -> tuple[float, float]:
        """Top left corner of a cell, level-0 px (x, y)."""
        x, y = self.cell_level0
        return column * x, row * y

    @property
    def _unit(self) -> int:
        return max(self.ratio, self.cell_px)

    @property
    def _first(self) -> int:
        centre = self.step // 2 // self._unit * self._unit
        return centre - self.shift // self._unit * self._unit - self.patch // 2

    def _count(self, length_px: int) -> int:
        middle_end = self._first + (self.patch - self.step) // 2 + self.step
        return 1 + max(0, -(-(length_px - middle_end) // self.step))


def make_grid(
    size_px: tuple[int, int],
    mpp: tuple[float, float],
    views: dict[str, float],
    *,
    patch_px: int,
    overlap: float,
    cell_px: int = 1,
    shifted: bool = False,
) -> SlideGrid:
    """size_px: level 0's (width, height). views: high_mpp and low_mpp. overlap: of neighbouring patches, share of a side.

    cell_px: 1, 2, 4, … high px become one cell of the map. shifted: the patches of another grid, half a step beside.
    Raises UserError.
    """
    if not 0 <= overlap <= MOST_OVERLAP:
        raise UserError(
            f"patches cannot overlap by {overlap:g}", "overlap", f"Give a share from 0 to {MOST_OVERLAP:g}."
        )
    if cell_px not in possible_cells(patch_px):
        choices = ", ".join(map(str, possible_cells(patch_px)))
        raise UserError(f"{cell_px} px cannot become one cell of the map", "resolution", f"Possible are {choices}.")
    ratio = round(views["low_mpp"] / views["high_mpp"])
    unit = max(ratio, cell_px)
    step = max(unit, int(round((1 - overlap) * patch_px, 6)) // unit * unit)
    high_mpp = views["high_mpp"]
    rows, columns = (
        max(1, math.ceil(length * scale / (high_mpp * cell_px) - 1e-9))
        for length, scale in zip(size_px[::-1], mpp[::-1], strict=True)
    )
    return SlideGrid((rows, columns), patch_px, step, cell_px, ratio, high_mpp, mpp, step // 2 if shifted else 0)


def possible_cells(patch_px: int) -> list[int]:
    """Factors from high px to cells of a map: powers of two that leave a patch 8 cells or more."""
    return [2**k for k in range(16) if patch_px % (_FEWEST_CELLS * 2**k) == 0]


def coarse_enough(size_px: tuple[int, int], mpp: tuple[float, float], high_mpp: float, patch_px: int, most: int) -> int:
    """The finest cell, in high px, with which a map has at most `most` cells a side; the coarsest possible if none has."""
    longest_um = max(length * scale for length, scale in zip(size_px, mpp, strict=True))
    choices = possible_cells(patch_px)
    return next((cell for cell in choices if longest_um / (high_mpp * cell) <= most), choices[-1])
