"""Validation while training: confusion counts and losses on the centre patches, shared out over ranks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.data.centres import parts_of, read_centres
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.evaluation import counts
from mlseg_dist.inference import normalise
from mlseg_dist.loss import centre, head_loss
from mlseg_dist.model import output_head, view_of
from mlseg_dist.training.engine import World


def validation_refs(corpus: Corpus, most: int | None) -> list[PairRef]:
    """All pairs of the val split, or `most` of them, evenly spaced."""
    numbers = corpus.numbers("val")
    if most is None or len(numbers) <= most:
        return corpus.refs("val")
    return [corpus.ref(int(numbers[i])) for i in np.linspace(0, len(numbers) - 1, most).round().astype(int)]


@torch.no_grad()
def validate(
    model: torch.nn.Module,
    corpus: Corpus,
    refs: Sequence[PairRef],
    config: LearningConfig,
    world: World,
    at: Callable[[str], None],
) -> dict[str, Any]:
    """Pooled figures of the output head (merged; the base's own): miou, iou per class, accuracy, wce, wdl (unweighted).

    at: told `validate` before each batch, and `reduce` before waiting for the other ranks.
    """
    settings, device = config.train, world.device
    confusion = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64, device=device)
    losses = torch.zeros(3, dtype=torch.float64, device=device)
    even, one = torch.ones(len(CLASSES), device=device), torch.ones((), dtype=torch.float64, device=device)
    was_training = model.training
    model.eval()
    mine = parts_of(refs, settings.samples_per_micro_batch, world.rank, world.size)
    threads, pinned = threads_for(settings.workers), device.type == "cuda"
    with read_centres(corpus, mine, settings.patch_px, threads, pinned=pinned) as coming:
        at("validate")
        for batch, _ in coming:
            views = [normalise(view.to(device, non_blocking=True)) for view in (batch.high, batch.low)]
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                logits = model(*views)
            head = output_head(logits)
            target = getattr(batch, f"{view_of(head)}_label").to(device, non_blocking=True)
            wce, wdl = head_loss(logits[head], target, even)
            losses += torch.stack([wce.double(), wdl.double(), one])
            confusion += count(logits[head].argmax(1), centre(target, logits[head]))
            at("validate")
    model.train(was_training)
    losses.tolist()  # wait for this rank's own device; from here on it waits for other ranks, as the watch must know
    at("reduce")
    if world.size > 1:
        dist.all_reduce(confusion)
        dist.all_reduce(losses)
    return figures(confusion.cpu().numpy()) | {
        "wce": float(losses[0] / losses[2]),
        "wdl": float(losses[1] / losses[2]),
    }


def count(predicted: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Confusion int64 (3, 3), rows truth, columns prediction, over labelled pixels. Does not wait for the device.

    target may be larger than the prediction: its centre counts.
    """
    target = centre(target, predicted[:, None])
    truths, answers = ([x == c for c in range(len(CLASSES))] for x in (target, predicted))
    return torch.stack([(truth & answer).sum() for truth in truths for answer in answers]).view(len(CLASSES), -1)


def figures(confusion: np.ndarray) -> dict[str, Any]:
    """IoU per class (None where a class is neither in truth nor predicted), their mean (0 when there is none), accuracy."""
    found = counts.figures(confusion)
    return {"miou": found["miou"] or 0.0, "iou": found["iou"], "accuracy": found["accuracy"] or 0.0}
