"""A slide's strips of probabilities and its annotation -> SlideCounts. Counts stay on the device until the slide ends."""

import math

import cv2
import numpy as np
import torch

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.evaluation.borders import SurfaceCounter
from mlseg_dist.evaluation.overview import NONE, every_of
from mlseg_dist.evaluation.slide_counts import (
    BINS,
    COUNT,
    ODDS,
    ODDS_LIMIT,
    ODDS_STEP,
    SHAPES,
    SlideCounts,
    threshold_bin,
)
from mlseg_dist.whole_slide.grid import SlideGrid
from mlseg_dist.whole_slide.strips import Strip, strongest_class


def probability_bins(probabilities: torch.Tensor) -> torch.Tensor:
    """Bins int64, of any shape; 0 for nan. Bin k begins at k / 1000, so probabilities are rounded down."""
    return (probabilities.nan_to_num(0.0) * (BINS - 1)).long().clamp(0, BINS - 1)


def odds_bins(odds: torch.Tensor) -> torch.Tensor:
    """Bins int64 of log odds in nats, of any shape; the bin of 0 for nan."""
    inside = odds.nan_to_num(0.0).clamp(-ODDS_LIMIT, ODDS_LIMIT)
    return (inside / ODDS_STEP).round().long() + round(ODDS_LIMIT / ODDS_STEP)


_LEAST = 1e-30
"""Probabilities below count as this one where a logarithm is taken: its log odds lie far beyond the last bin."""


class SlideCounter:
    """Counts one network on one slide: add() every strip from top to bottom, then finish() once.

    table: fine class id -> training class or IGNORED, uint8 (256,). threshold: below it a cell is called background.
    boundary_um: the tolerance of surfaces. columns: [first, last), outside of which nothing is annotated. overview: a small
    picture, made on the way.
    """

    def __init__(
        self,
        grid: SlideGrid,
        table: np.ndarray,
        threshold: float,
        boundary_um: float,
        device: torch.device,
        columns: tuple[int, int] | None = None,
    ) -> None:
        self._table, self._least_bin, self._device = table, threshold_bin(threshold), device
        self._columns = columns or (0, grid.size[1])
        self._fine = np.flatnonzero(table != IGNORED)
        self._row_of = np.zeros(len(table), np.uint8)
        self._row_of[self._fine] = np.arange(len(self._fine))
        shapes = {"answers": (len(self._fine), COUNT, BINS), "scores": SHAPES["scores"], "log_odds": SHAPES["log_odds"]}
        self._flat = {
            name: torch.zeros(math.prod(shape) + 1, dtype=torch.int64, device=device)  # the last: unanswered
            for name, shape in shapes.items()
        }
        self._unanswered = torch.zeros((), dtype=torch.int64, device=device)
        width = self._columns[1] - self._columns[0]
        self._surface = SurfaceCounter(width, boundary_um / grid.cell_um, device)
        self.overview = Overview(grid, device)

    def add(self, strip: Strip, fine: np.ndarray) -> None:
        """fine: fine class ids of the strip's cells, uint8 (h, columns), UNLABELLED or EXCLUDED_PX where there is none."""
        there = slice(*self._columns)
        labels = np.ascontiguousarray(fine[:, there])
        truth = self._table[labels]
        at = np.flatnonzero(truth != IGNORED)
        if not len(at):
            self._surface.skip(len(truth))
            return
        where, true = self._on_device(at), self._on_device(truth)
        probabilities = strip.probabilities[:, :, there].reshape(len(CLASSES), -1)[:, where]
        answered = strip.answered[:, there].reshape(-1)[where]
        rows = self._on_device(self._row_of[labels.ravel()[at]])
        predicted = torch.full(truth.shape, IGNORED, dtype=torch.uint8, device=self._device)
        predicted.view(-1)[where] = self._count(rows, true.view(-1)[where], probabilities, answered)
        self.overview.add(strip.top, self._columns[0], true, predicted)
        self._surface.add(torch.where(predicted == IGNORED, predicted, true), predicted)

    def _on_device(self, values: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(values).to(self._device)

    def finish(self) -> SlideCounts:
        """One transfer from the device."""
        surface = self._surface.finish().cpu().numpy()
        flat = {name: found[:-1].cpu().numpy() for name, found in self._flat.items()}
        answers = np.zeros(SHAPES["answers"], np.int64)
        answers[self._fine] = flat["answers"].reshape(-1, *SHAPES["answers"][1:])
        scores, log_odds = (flat[name].reshape(SHAPES[name]) for name in ("scores", "log_odds"))
        return SlideCounts(answers, scores, log_odds, surface, int(self._unanswered))

    def _count(
        self, rows: torch.Tensor, true: torch.Tensor, probabilities: torch.Tensor, answered: torch.Tensor
    ) -> torch.Tensor:
        """Count n annotated cells, and return what each is called, uint8 (n,). rows: in `answers`. probabilities: (3, n)."""
        best, strongest = strongest_class(probabilities)
        strongest_bin, true = probability_bins(strongest), true.long()
        self._tally("answers", (rows.long() * COUNT + best.long()) * BINS + strongest_bin, answered)
        for number, one in enumerate(probabilities):
            self._tally("scores", (true * COUNT + number) * BINS + probability_bins(one), answered)
        logs = probabilities.clamp(min=_LEAST).log()
        tumour, others = (odds_bins(logs[number] - logs[0]) for number in (1, 2))
        self._tally("log_odds", (true * ODDS + tumour) * ODDS + others, answered)
        self._unanswered += (~answered).sum()
        decided = best * (strongest_bin >= self._least_bin)
        return torch.where(answered, decided, IGNORED).to(torch.uint8)

    def _tally(self, name: str, index: torch.Tensor, answered: torch.Tensor) -> None:
        flat = self._flat[name]
        flat += torch.bincount(torch.where(answered, index, len(flat) - 1), minlength=len(flat))


class Overview:
    """A small picture of the map (overview.py): add() whatever parts of it have a truth, then encode()."""

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
