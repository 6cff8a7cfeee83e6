"""A slide's truth and answer in a small picture: what examples are chosen by and the worst slides are drawn from.

Every k-th cell of every k-th row, so that no side has more than MOST cells. One byte a cell: truth * 16 + answer, each a training
class, or NONE where a cell has none. counting.Overview makes it. Loads no torch.
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from mlseg_dist.config import IGNORED

MOST = 1024
NONE = 15


def every_of(size: tuple[int, int]) -> int:
    """One cell of so many is in the picture, in both directions. size: rows and columns of cells."""
    return max(1, -(-max(size) // MOST))


@dataclass(frozen=True)
class OverviewMap:
    """truth, predicted: training classes, uint8 (rows, columns), IGNORED where there is none."""

    truth: np.ndarray
    predicted: np.ndarray

    @classmethod
    def decode(cls, png: bytes) -> "OverviewMap":
        found: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        truth, predicted = (np.where(part == NONE, IGNORED, part).astype(np.uint8) for part in (found >> 4, found & 15))
        return cls(truth, predicted)

    def part(self, rows: slice, columns: slice) -> "OverviewMap":
        return OverviewMap(self.truth[rows, columns], self.predicted[rows, columns])
