"""Validation while training: figures of the output head over the labelled pixels of the validation slides, each counted once."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.data.centres import parts_of
from mlseg_dist.data.once import read_once
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.evaluation.figures import plain
from mlseg_dist.evaluation.operating_point import choose
from mlseg_dist.inference import normalise
from mlseg_dist.loss import centre
from mlseg_dist.model import Network, answering_view, output_head
from mlseg_dist.training.engine import World
from mlseg_dist.training.validation_counts import TRAINING_CLASSES, ValidationCounts
from mlseg_dist.training.validation_pairs import ValidationPairs

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
