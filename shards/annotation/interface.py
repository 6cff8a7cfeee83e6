"""What every annotation offers to sampling, cutting and the audit, whatever its file format."""

from collections import Counter
from typing import Protocol

import numpy as np

from shards.annotation.extent import OffSlide
from shards.annotation.origin import Placement

UNLABELLED = 255
"""Label of a pixel that nobody annotated, holes included."""
EXCLUDED_PX = 254
"""Label of a pixel that somebody excluded: it is never learnt, scored or labelled by a teacher."""


class Annotation(Protocol):
    """A slide's annotation after class mapping. Coordinates are level-0 px (x, y); views are (width, height)."""

    bounds: tuple[float, float, float, float] | None
    """x0, y0, x1, y1 of all that has a class on the slide; None: nothing has."""
    fine: frozenset[int]
    """Fine class ids that occur."""
    digest: str
    """sha256 of what it says: geometry and fine class names. Unconcerned class map edits leave it as it is."""
    ignored: Counter[str]
    """What the file holds and no label came of, by kind: points, lines, degenerate rings, …"""

    placement: Placement
    """Where its coordinates begin, and which plane was taken."""

    def off(self, scanned: tuple[float, float, float, float]) -> OffSlide:
        """How much of it lies outside the box `scanned` (x0, y0, x1, y1), level-0 px."""
        ...

    def label(self, corner: tuple[float, float], step: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
        """Fine class ids or EXCLUDED_PX, uint8 (height, width), of the view of `size` px with its top left corner at `corner`.

        step: level-0 px per view px. A pixel takes the class at its centre; off the slide it is UNLABELLED.
        """
        ...

    def outlines(self, tolerance: float) -> list[tuple[int, np.ndarray]]:
        """(fine id or EXCLUDED_PX, ring (n, 2) level-0 px) of each border, at most about `tolerance` px off. For pictures."""
        ...
