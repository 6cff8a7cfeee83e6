"""Validation while training: confusion counts and losses on the centre patches, shared out over ranks."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from mlseg_dist.config import CLASSES, LearningConfig
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.views import centre_views
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
    batch = config.train.samples_per_micro_batch
    confusion = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64)
    losses = torch.zeros(3, dtype=torch.float64)
    even = torch.ones(len(CLASSES), device=world.device)
    was_training = model.training
    model.eval()
    for first in range(world.rank * batch, len(refs), world.size * batch):
        at("validate")
        views = [centre_views(corpus, ref, config.train.patch_px) for ref in refs[first : first + batch]]
        high, low = (torch.from_numpy(np.stack([getattr(v, n) for v in views])) for n in ("high", "low"))
        with torch.autocast(world.device.type, torch.bfloat16, enabled=config.train.precision == "bf16"):
            logits = model(normalise(high.to(world.device)), normalise(low.to(world.device)))
        head = output_head(logits)
        target = torch.from_numpy(np.stack([getattr(v, f"{view_of(head)}_label") for v in views])).to(world.device)
        wce, wdl = head_loss(logits[head], target, even)
        losses += torch.tensor([float(wce), float(wdl), 1.0], dtype=torch.float64)
        confusion += count(logits[head].argmax(1), centre(target, logits[head])).cpu()
    model.train(was_training)
    at("reduce")
    if world.size > 1:
        confusion, losses = confusion.to(world.device), losses.to(world.device)
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
