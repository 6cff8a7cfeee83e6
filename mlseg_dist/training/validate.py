"""Validation while training: figures of the output head over the labelled pixels of the validation slides, each counted once.

Counts and sums are integers and float64, which add up alike in any batches, on any ranks.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from mlseg_dist.config import CLASSES, IGNORED, LearningConfig
from mlseg_dist.data.once import read_once
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.data.views import parts_of
from mlseg_dist.evaluation.counting import odds_bins, probability_bins
from mlseg_dist.evaluation.figures import plain
from mlseg_dist.evaluation.operating_point import choose
from mlseg_dist.evaluation.slide_counts import BINS, COUNT, ODDS, SlideCounts
from mlseg_dist.inference import normalise
from mlseg_dist.loss import centre, class_sums, equations
from mlseg_dist.model import Network, answering_view, output_head
from mlseg_dist.training.engine import World
from mlseg_dist.training.validation_pairs import ValidationPairs

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


MOST_NOT_FINITE = 0.01
"""With a larger part of the pixels without a finite answer, a validation cannot become the best."""


@dataclass(frozen=True)
class Scores:
    """figures: miou, iou per class, accuracy, wce, wdl (unweighted); for metrics.jsonl. operating_point: as in teacher.json.

    pixels: labelled ones that were scored; not_finite: those without a finite answer, scored nowhere. patches: read and predicted.
    excluded: pairs found to be unreadable, which are not scored from now on.
    """

    figures: dict[str, Any]
    operating_point: dict[str, Any]
    pixels: int
    not_finite: int
    patches: int
    excluded: list[dict[str, Any]] = field(default_factory=list)

    @property
    def can_be_best(self) -> bool:
        return self.not_finite <= MOST_NOT_FINITE * (self.pixels + self.not_finite)


def validate(
    model: Network, pairs: ValidationPairs, config: LearningConfig, world: World, at: Callable[[str], None]
) -> Scores:
    """The same on every rank, however many there are. Where pairs turn out to be unreadable it excludes them and scores again.

    at: told `validate` before each batch, and `reduce` before waiting for the other ranks. Raises BadPair, as ValidationPairs.
    """
    was_training = model.training
    model.eval()
    try:
        at("reduce")
        excluded = pairs.settle({})
        while True:
            found, patches, bad = _score(model, pairs, config, world, at)
            at("reduce")
            new = pairs.settle(bad)
            excluded += new
            if not new:
                break
        found.reduce(world)
        patches = sum(world.from_all(patches))
    finally:
        model.train(was_training)
    confusion = found.confusion
    pixels = int(confusion.sum())
    wce, wdl = found.losses if pixels else (None, None)
    point = choose(found.slide_counts(), TRAINING_CLASSES).record(pairs.patients)
    return Scores(figures(confusion) | {"wce": wce, "wdl": wdl}, point, pixels, found.not_finite, patches, excluded)


@torch.no_grad()
def _score(
    model: Network, pairs: ValidationPairs, config: LearningConfig, world: World, at: Callable[[str], None]
) -> tuple[ValidationCounts, int, dict[int, str]]:
    """This rank's share of a pass: counts, patches that it predicted, what it cannot read (place in once.refs -> why)."""
    settings, device, once = config.train, world.device, pairs.once
    view, found, patches = answering_view(model), ValidationCounts(device), 0
    bad: dict[int, str] = {}
    shares = list(parts_of(range(len(once.refs)), settings.samples_per_micro_batch, world.rank, world.size))
    threads, pinned = threads_for(settings.workers), device.type == "cuda"
    with read_once(once, shares, view, threads, leave_out_bad=pairs.leaves_out, pinned=pinned) as coming:
        at("validate")
        for share, (batch, outcomes) in zip(shares, coming, strict=True):
            bad |= {place: told.bad for place, told in zip(share, outcomes, strict=True) if told.bad}
            kept = [row for row, told in enumerate(outcomes) if told.counts]
            if kept:
                batch, patches = batch.rows(kept), patches + len(kept)
                views = [normalise(x.to(device, non_blocking=True)) for x in (batch.high, batch.low)]
                with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                    logits = model(*views)
                answer = logits[output_head(logits)]
                found.add(answer, centre(batch.label.to(device, non_blocking=True), answer))
            at("validate")
    found.wait()  # for this rank's own device; from here on it waits for other ranks, as the watch must know
    return found, patches, bad


def count(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Confusion int64 (3, 3), rows truth, columns prediction, over labelled pixels. Does not wait for the device.

    target may be larger than the prediction: its centre counts.
    """
    target = centre(target, predicted[:, None])
    truths, answers = ([x == c for c in range(len(CLASSES))] for x in (target, predicted))
    return torch.stack([(truth & answer).sum() for truth in truths for answer in answers]).view(len(CLASSES), -1)


def figures(confusion: np.ndarray) -> dict[str, Any]:
    """IoU per class (None where a class is neither in truth nor predicted), their mean (0 when there is none), accuracy."""
    found = plain(confusion)
    return {"miou": found["miou"] or 0.0, "iou": found["iou"], "accuracy": found["accuracy"] or 0.0}
