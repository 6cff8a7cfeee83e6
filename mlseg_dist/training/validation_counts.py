"""What validation keeps of the pixels that it scores: integer counts and sums, which add up alike in any batches, on any ranks."""

import numpy as np
import torch
import torch.distributed as dist

from mlseg_dist.config import IGNORED
from mlseg_dist.evaluation.bins import odds_bins, probability_bins
from mlseg_dist.evaluation.tally import BINS, COUNT, ODDS, SlideCounts
from mlseg_dist.loss import class_sums, equations
from mlseg_dist.training.engine import World

TRAINING_CLASSES = np.where(np.arange(256) < COUNT, np.arange(256), IGNORED).astype(np.uint8)
"""Validation counts by training class where SlideCounts has fine classes: the table for such counts."""
_ANSWERS, _ODDS = COUNT * COUNT * BINS, COUNT * ODDS * ODDS


class ValidationCounts:
    """What one network answers; on the device until reduce(). Nothing in add() waits for the device.

    A labelled pixel whose logits are not all finite is counted as such, and nowhere else.
    """

    def __init__(self, device: torch.device) -> None:
        self._counts = torch.zeros(_ANSWERS + _ODDS + 1, dtype=torch.int64, device=device)
        self._sums = torch.zeros(4, COUNT, dtype=torch.float64, device=device)

    def add(self, logits_BCHW: torch.Tensor, target_BHW: torch.Tensor) -> None:
        """target: uint8 training classes under the logits; 255 is not counted."""
        finite, labelled = logits_BCHW.isfinite().all(dim=1), target_BHW < COUNT
        known = finite & labelled
        self._sums += class_sums(logits_BCHW.double(), torch.where(known, target_BHW, IGNORED), 0.0, 0.0)
        logits = torch.where(known[:, None], logits_BCHW.float(), 0.0)
        truth = torch.where(known, target_BHW, 0).long()
        sure = probability_bins(logits.softmax(dim=1).amax(dim=1))
        answers = (truth * COUNT + logits.argmax(dim=1)) * BINS + sure
        odds = odds_bins(logits[:, 1:] - logits[:, :1])
        log_odds = (truth * ODDS + odds[:, 0]) * ODDS + odds[:, 1] + _ANSWERS
        last = _ANSWERS + _ODDS
        for cells in (answers, log_odds):
            self._count(torch.where(known, cells, last + 1))
        self._counts[last] += (labelled & ~finite).sum()

    def _count(self, cells: torch.Tensor) -> None:
        """Add one to each of these places; those beyond the end go nowhere."""
        places = len(self._counts) + 1
        if cells.device.type == "cpu":
            self._counts += torch.bincount(cells.flatten(), minlength=places)[:-1]
        else:  # bincount would wait for the device
            room = torch.zeros(places, dtype=torch.int64, device=cells.device)
            self._counts += room.scatter_add_(0, cells.flatten(), torch.ones_like(cells).flatten())[:-1]

    def wait(self) -> None:
        """Wait for this rank's own device."""
        self._counts[:1].tolist()

    def reduce(self, world: World) -> None:
        """Sum over all ranks. All ranks call."""
        if world.size > 1:
            dist.all_reduce(self._counts)
            dist.all_reduce(self._sums)
        self._counts, self._sums = self._counts.cpu(), self._sums.cpu()

    # ---- after reduce() ----------------------------------------------------------------------------------------

    @property
    def not_finite(self) -> int:
        return int(self._counts[-1])

    @property
    def confusion(self) -> np.ndarray:
        """int64 (3, 3), rows truth, columns the strongest class."""
        return self._counts[:_ANSWERS].view(COUNT, COUNT, BINS).sum(-1).numpy()

    @property
    def losses(self) -> tuple[float, float]:
        """(WCE, WDL) of equations 3-6 over all pixels at once, unweighted."""
        wce, wdl = equations(self._sums, torch.ones(COUNT, dtype=torch.float64))
        return float(wce), float(wdl)

    def slide_counts(self) -> SlideCounts:
        """As an evaluation counts, with training classes in place of fine ones (TRAINING_CLASSES)."""
        counts = SlideCounts(unanswered=self.not_finite)
        counts.answers[:COUNT] = self._counts[:_ANSWERS].view(COUNT, COUNT, BINS).numpy()
        counts.log_odds[:] = self._counts[_ANSWERS:-1].view(COUNT, ODDS, ODDS).numpy()
        return counts
