"""A shard through a network: reading and decoding, inference, encoding go on at the same time, and order is kept.

In: a shard, how its batches are loaded, what a network computes. Out: what is made of each pair's answers, batch by batch.
Threads read and encode (OpenCV, file reads and checksums release the interpreter); the calling thread keeps the device busy. On a
GPU nothing here waits for it but the threads that encode: while it computes a batch the next is decoded and the last is encoded.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
import torch

from mlseg_dist.data import labels
from mlseg_dist.data.prefetch import ReadAhead, Work
from mlseg_dist.inference import Predictor
from mlseg_dist.labelling.loading import AHEAD, Batch, Loader
from shards.tar import ShardReader

Out = TypeVar("Out")


class Answers:
    """A batch's answers on their way from the device: name -> (B, ...)."""

    def __init__(self, batch: Batch, computed: Mapping[str, torch.Tensor]) -> None:
        self.rows = batch.rows
        self._batch = batch  # its pinned memory is read until the device is through
        self._done: torch.cuda.Event | None = None
        if any(answer.is_cuda for answer in computed.values()):
            self._answers = {n: torch.empty(a.shape, dtype=a.dtype, pin_memory=True) for n, a in computed.items()}
            for name, target in self._answers.items():
                target.copy_(computed[name], non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record()
        else:
            self._answers = dict(computed)

    def of(self, position: int) -> dict[str, np.ndarray]:
        """Those of one pair; waits for the device. Any thread may call."""
        if self._done is not None:
            self._done.synchronize()
        return {name: answers[position].numpy() for name, answers in self._answers.items()}


class Codes(Answers):
    """A teacher's: head -> uint8 (B, S/stride, S/stride)."""

    def __init__(self, teacher: Predictor, batch: Batch, stride: int) -> None:
        with torch.inference_mode():
            codes = {h: labels.encode_batch(p, stride) for h, p in teacher.probabilities(*batch.views()).items()}
        super().__init__(batch, codes)


def batches_of(count: int, batch: int) -> list[range]:
    """Rows of a shard's batches: always the same, whoever labels it."""
    return [range(first, min(first + batch, count)) for first in range(0, count, batch)]


def overlapped(
    shard: ShardReader,
    loader: Loader,
    teacher: Predictor,
    batch: int,
    stride: int,
    threads: int,
    finish: Callable[[int, dict[str, np.ndarray]], Out],
) -> Iterator[list[Out]]:
    """through, with a teacher's codes of its heads."""
    yield from through(shard, loader, batch, threads, lambda loaded: Codes(teacher, loaded, stride), finish)


def through(
    shard: ShardReader,
    loader: Loader,
    batch: int,
    threads: int,
    compute: Callable[[Batch], Answers],
    finish: Callable[[int, dict[str, np.ndarray]], Out],
) -> Iterator[list[Out]]:
    """finish(row, its answers) of every row, in order, a list for each batch.

    compute: called in this thread. What a thread raises is raised here, after what came before it. Nothing runs any more once
    the iterator is closed.
    """

    def begin(rows: range) -> Work[Batch, None]:
        loaded = loader.batch(rows)
        return Work(loaded, [partial(loaded.read, shard, position) for position in range(len(rows))])

    def start_read(coming: ReadAhead[range, Batch, None]) -> None:
        """Decoding on a GPU starts as soon as a batch is read, in order."""
        coming.under_way[0].wait()
        for loading in islice(coming.under_way, AHEAD):
            if not loading.ready:
                break
            loading.batch.start()

    finishing: deque[list[Future[Out]]] = deque()
    rows = batches_of(len(shard), batch)
    try:
        with ReadAhead(rows, begin, threads, AHEAD, start_read, "label") as coming:
            for loaded, _ in coming:
                answers = compute(loaded)
                parts = range(len(loaded.rows))
                finishing.append([coming.submit(_finish_one, finish, answers, i) for i in parts])
                if len(finishing) > AHEAD:
                    yield [part.result() for part in finishing.popleft()]
            while finishing:
                yield [part.result() for part in finishing.popleft()]
    finally:
        loader.drop()


def _finish_one(finish: Callable[[int, dict[str, np.ndarray]], Out], answers: Answers, position: int) -> Out:
    return finish(answers.rows[position], answers.of(position))
