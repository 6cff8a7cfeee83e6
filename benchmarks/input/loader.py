"""What a user would write today: webdataset, albumentations, a torch DataLoader with a worker process a core.

As both projects advise: shards in random order without end, a shuffle buffer of undecoded samples, decoding and augmentation in
persistent workers, batches stacked there, two prefetched by each, OpenCV on one thread. mlseg_dist.data.web makes the pipeline:
it decodes with OpenCV, 20 % faster than Pillow, webdataset's own choice, and compares every member with its crc32c.
"""

from collections.abc import Iterator
from typing import Any

import albumentations as A
import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader

from benchmarks.common.photo_corpus import training_classes
from benchmarks.input.ops import transforms
from benchmarks.input.row import Batch, Job
from mlseg_dist.data.web import web_dataset

_SHUFFLE = 100
"""Samples in a worker's buffer. webdataset's examples have 1,000, which would take 0.3 GB a worker here."""
_PREFETCH = 2


def augmented(job: Job) -> Iterator[Batch]:
    """Every op by its namesake."""
    return _loaded(job, light=False)


def augmented_light(job: Job) -> Iterator[Batch]:
    """Ops that albumentations is slow at by cheaper relatives (ops.LIGHT)."""
    return _loaded(job, light=True)


class Augment:
    """A sample -> augmented views and labels."""

    def __init__(self, job: Job, light: bool) -> None:
        views = job.manifest().views
        ops = transforms(job.ops(), job.patch_px, int(views["store_px"]), views["high_mpp"], light)
        self.compose = A.Compose(ops, additional_targets={"low": "image", "low_label": "mask"})

    def __call__(self, sample: dict[str, Any]) -> tuple[np.ndarray, ...]:
        made = self.compose(
            image=sample["high"], mask=sample["high_label"], low=sample["low"], low_label=sample["low_label"]
        )
        return made["image"], made["low"], made["mask"], made["low_label"]


def _loaded(job: Job, light: bool) -> Iterator[Batch]:
    dataset = (
        web_dataset(job.folder, training_classes(job.manifest()), shuffle=_SHUFFLE)
        .repeat()
        .map(Augment(job, light))
        .batched(job.batch, collation_fn=_stacked, partial=False)
    )
    loader = DataLoader(
        dataset,
        batch_size=None,
        num_workers=job.threads,
        persistent_workers=True,
        prefetch_factor=_PREFETCH,
        worker_init_fn=_settle,
    )
    yield from loader


def _stacked(samples: list[tuple[np.ndarray, ...]]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.stack(parts)) for parts in zip(*samples, strict=True)]


def _settle(_: Any) -> None:
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
