"""A slide's truth and answer in a small picture: what examples are chosen by and the worst slides are drawn from.

Every k-th cell of every k-th row, so that no side has more than MOST cells. One byte a cell: truth * 16 + answer, each a training
class, or NONE where a cell has none.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import torch

from mlseg_dist.config import IGNORED
from mlseg_dist.whole_slide.grid import SlideGrid

MOST = 1024
NONE = 15


class Overview:
    """add() whatever parts of the map have a truth, then encode()."""

    def __init__(self, grid: SlideGrid, device: torch.device) -> None:
        self.every = every_of(grid.size)
        shape = [len(range(self.every // 2, length, self.every)) for length in grid.size]
        self._cells = torch.full(shape, NONE * 16 + NONE, dtype=torch.uint8, device=device)

    def add(self, top: int, left: int, truth: torch.Tensor, predicted: torch.Tensor) -> None:
        """Training classes of the cells from (top, left), uint8 (h, w), IGNORED where there is none."""
        every, middle = self.every, self.every // 2
        first = [(middle - start) % every for start in (top, left)]
        rows, columns = (slice(one, None, every) for one in first)
        truth, predicted = (one[rows, columns].clamp(max=NONE) for one in (truth, predicted))
        y, x = ((start + one) // every for start, one in zip((top, left), first, strict=True))
        self._cells[y : y + truth.shape[0], x : x + truth.shape[1]] = truth * 16 + predicted

    def encode(self) -> bytes:
        """PNG, grey."""
        return bytes(cv2.imencode(".png", self._cells.cpu().numpy())[1])


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
        found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
        truth, predicted = (np.where(part == NONE, IGNORED, part).astype(np.uint8) for part in (found >> 4, found & 15))
        return cls(truth, predicted)

    def part(self, rows: slice, columns: slice) -> "OverviewMap":
        return OverviewMap(self.truth[rows, columns], self.predicted[rows, columns])
