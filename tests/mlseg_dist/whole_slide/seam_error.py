"""How much a map depends on where its patches lie: the share of cells whose class changes when all patches move by half a step."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from mlseg_dist.config import IGNORED
from mlseg_dist.whole_slide.strips import WholeSlide


@dataclass(frozen=True)
class SeamError:
    """cells: of the region, with an answer from both grids. changed: those whose class differs."""

    cells: int
    changed: int

    @property
    def share(self) -> float:
        """0 to 1; 0 where there are no cells."""
        return self.changed / self.cells if self.cells else 0.0


def seam_error(here: WholeSlide, there: WholeSlide, threshold: float) -> SeamError:
    """here, there: two passes over one slide and one region, whose grids differ by `shifted` only (make_grid).

    Both run side by side, so that no map is kept: twice a pass' memory. Raises BadSlide.
    """
    cells = changed = 0
    left = np.empty((0, here.grid.size[1]), np.uint8)
    others = _classes(there, threshold)
    for rows in _classes(here, threshold):
        while len(left) < len(rows):
            left = np.concatenate([left, next(others)])
        both = (rows != IGNORED) & (left[: len(rows)] != IGNORED)
        cells += int(np.count_nonzero(both))
        changed += int(np.count_nonzero(both & (rows != left[: len(rows)])))
        left = left[len(rows) :]
    for _ in others:  # its last rows are here; it still has to say whether its patches were sound
        pass
    return SeamError(cells, changed)


def _classes(engine: WholeSlide, threshold: float) -> Iterator[np.ndarray]:
    """Classes of each strip, uint8 (h, columns); IGNORED outside the region."""
    for strip in engine.strips():
        classes = strip.classes(threshold).cpu().numpy()
        classes[~strip.region] = IGNORED
        yield classes
