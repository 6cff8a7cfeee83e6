"""A shard through a network: reading and decoding, inference, encoding go on at the same time, and order is kept.

In: a shard, what a network computes. Out: what is made of each pair's answers, batch by batch. Threads decode and encode (OpenCV,
file reads and checksums release the interpreter); the calling thread keeps the device busy. On a GPU nothing here waits for it
but the threads that encode, so that while it computes a batch the next is decoded and the last is encoded.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch

from mlseg_dist.data import labels
from mlseg_dist.inference import Predictor
from shards.sample import decode_rgb
from shards.tar import BadShard, ShardReader

AHEAD = 2
"""Batches that are decoded, and as many that are encoded, beside the one on the device: what bounds the memory."""
VIEWS = ("high", "low")
Out = TypeVar("Out")


@dataclass
class Batch:
    """Rows of a shard as uint8 (B, S, S, 3) high and low, pinned for a GPU."""

    rows: Sequence[int]
    high: torch.Tensor
    low: torch.Tensor

    @classmethod
    def empty(cls, rows: Sequence[int], side: int, pinned: bool) -> "Batch":
        shape = (len(rows), side, side, 3)
        return cls(rows, *(torch.empty(shape, dtype=torch.uint8, pin_memory=pinned) for _ in VIEWS))

    def read(self, shard: ShardReader, position: int) -> None:
        """Read and decode one pair. Raises BadShard."""
        row = self.rows[position]
        for view in VIEWS:
            data = shard.read_member(row, shard.members.index(f"{view}.jpg"))
            target = getattr(self, view)[position].numpy()
            try:
                image = decode_rgb(data)
            except ValueError as error:
                raise BadShard(f"{shard.path}: {shard.key(row)}.{view}.jpg: {error}") from error
            if image.shape != target.shape:
                raise BadShard(f"{shard.path}: {shard.key(row)}.{view}.jpg is {image.shape}, not {target.shape}")
            target[:] = image


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
            codes = {h: labels.encode_batch(p, stride) for h, p in teacher.probabilities(batch.high, batch.low).items()}
        super().__init__(batch, codes)


def batches_of(count: int, batch: int) -> list[range]:
    """Rows of a shard's batches: always the same, whoever labels it."""
    return [range(first, min(first + batch, count)) for first in range(0, count, batch)]


def overlapped(
    shard: ShardReader,
    teacher: Predictor,
    side: int,
    batch: int,
    stride: int,
    threads: int,
    finish: Callable[[int, dict[str, np.ndarray]], Out],
) -> Iterator[list[Out]]:
    """through, with a teacher's codes of its heads."""
    pinned = teacher.device.type == "cuda"
    yield from through(shard, side, batch, threads, pinned, lambda loaded: Codes(teacher, loaded, stride), finish)


def through(
    shard: ShardReader,
    side: int,
    batch: int,
    threads: int,
    pinned: bool,
    compute: Callable[[Batch], Answers],
    finish: Callable[[int, dict[str, np.ndarray]], Out],
) -> Iterator[list[Out]]:
    """finish(row, its answers) of every row, in order, a list for each batch. side: of the stored views, px.

    compute: called in this thread. pinned: for a GPU. What a thread raises is raised here, after what came before it. Nothing
    runs any more once the iterator is closed.
    """
    reading: deque[tuple[Batch, list[Future[None]]]] = deque()
    finishing: deque[list[Future[Out]]] = deque()
    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="label") as pool:

        def compute_next() -> None:
            loaded, parts = reading.popleft()
            for part in parts:
                part.result()
            answers = compute(loaded)
            finishing.append([pool.submit(_finish_one, finish, answers, i) for i in range(len(loaded.rows))])

        try:
            for rows in batches_of(len(shard), batch):
                loaded = Batch.empty(rows, side, pinned)
                reading.append((loaded, [pool.submit(loaded.read, shard, i) for i in range(len(rows))]))
                if len(reading) > AHEAD:
                    compute_next()
                if len(finishing) > AHEAD:
                    yield [part.result() for part in finishing.popleft()]
            while reading:
                compute_next()
                if len(finishing) > AHEAD:
                    yield [part.result() for part in finishing.popleft()]
            while finishing:
                yield [part.result() for part in finishing.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)


def _finish_one(finish: Callable[[int, dict[str, np.ndarray]], Out], answers: Answers, position: int) -> Out:
    return finish(answers.rows[position], answers.of(position))
