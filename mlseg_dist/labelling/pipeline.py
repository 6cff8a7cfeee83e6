"""A shard through a teacher: reading and decoding, inference, encoding go on at the same time, and order is kept.

In: a shard, a teacher. Out: codes of each pair's heads, batch by batch. Threads decode and encode (OpenCV, file reads and
checksums release the interpreter); the calling thread keeps the device busy. On a GPU nothing here waits for it but the
threads that encode, so that while it computes a batch the next is decoded and the last is encoded.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
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


class Codes:
    """A batch's answers on their way from the device: head -> uint8 (B, S/stride, S/stride)."""

    def __init__(self, teacher: Predictor, batch: Batch, stride: int) -> None:
        self.rows = batch.rows
        self._batch = batch  # its pinned memory is read until the device is through
        with torch.inference_mode():
            codes = {h: labels.encode_batch(p, stride) for h, p in teacher.probabilities(batch.high, batch.low).items()}
        self._done: torch.cuda.Event | None = None
        if teacher.device.type == "cuda":
            self._codes = {h: torch.empty(c.shape, dtype=c.dtype, pin_memory=True) for h, c in codes.items()}
            for head, target in self._codes.items():
                target.copy_(codes[head], non_blocking=True)
            self._done = torch.cuda.Event()
            self._done.record()
        else:
            self._codes = codes

    def of(self, position: int) -> dict[str, np.ndarray]:
        """Codes of one pair; waits for the device. Any thread may call."""
        if self._done is not None:
            self._done.synchronize()
        return {head: codes[position].numpy() for head, codes in self._codes.items()}


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
    """finish(row, codes of its heads) of every row, in order, a list for each batch. side: of the stored views, px.

    What a thread raises is raised here, after what came before it. Nothing runs any more once the iterator is closed.
    """
    pinned = teacher.device.type == "cuda"
    reading: deque[tuple[Batch, list[Future[None]]]] = deque()
    finishing: deque[list[Future[Out]]] = deque()
    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="label") as pool:

        def compute() -> None:
            loaded, parts = reading.popleft()
            for part in parts:
                part.result()
            codes = Codes(teacher, loaded, stride)
            finishing.append([pool.submit(_finish_one, finish, codes, i) for i in range(len(loaded.rows))])

        try:
            for rows in batches_of(len(shard), batch):
                loaded = Batch.empty(rows, side, pinned)
                reading.append((loaded, [pool.submit(loaded.read, shard, i) for i in range(len(rows))]))
                if len(reading) > AHEAD:
                    compute()
                if len(finishing) > AHEAD:
                    yield [part.result() for part in finishing.popleft()]
            while reading:
                compute()
                if len(finishing) > AHEAD:
                    yield [part.result() for part in finishing.popleft()]
            while finishing:
                yield [part.result() for part in finishing.popleft()]
        finally:
            pool.shutdown(cancel_futures=True)


def _finish_one(finish: Callable[[int, dict[str, np.ndarray]], Out], codes: Codes, position: int) -> Out:
    return finish(codes.rows[position], codes.of(position))
