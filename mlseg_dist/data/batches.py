"""Augmented micro-batches in order, prepared ahead by threads (OpenCV and file reads release the interpreter)."""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.config import PolicyConfig
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.order import Draw, Order
from mlseg_dist.data.views import Views, stored_views


@dataclass(frozen=True)
class MicroBatch:
    """number: of the micro-batch in the phase. Images uint8 (B, P, P, 3), labels uint8 (B, P, P). wait_s: time spent waiting."""

    number: int
    high: torch.Tensor
    low: torch.Tensor
    high_label: torch.Tensor
    low_label: torch.Tensor
    wait_s: float


class Batches:
    """threshold: the teacher's emit threshold, applied to its labels when they are read."""

    def __init__(
        self, corpus: Corpus, order: Order, policy: PolicyConfig, patch_px: int, threshold: float, threads: int
    ) -> None:
        self.corpus, self.order, self.policy = corpus, order, policy
        self.patch_px, self.threshold, self.threads = patch_px, threshold, max(1, threads)
        self.mpp = {view: corpus.manifest.views[f"{view}_mpp"] for view in ("high", "low")}

    def sample(self, draw: Draw) -> Views:
        """One augmented sample: a pure function of the draw."""
        parameters = draw_parameters(self.policy, self.order.seed, self.order.phase, draw.index)
        return augment(stored_views(self.corpus, draw.pair, self.threshold), parameters, self.mpp, self.patch_px)

    def stream(self, numbers: Iterator[int], ahead: int = 3) -> Iterator[MicroBatch]:
        """Micro-batches of the given numbers, in that order, `ahead` of them under way."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="batches") as pool:
            under_way: deque[tuple[int, list[Future[Views]]]] = deque()
            try:
                for number in numbers:
                    under_way.append((number, [pool.submit(self.sample, d) for d in self.order.micro_batch(number)]))
                    if len(under_way) > ahead:
                        yield _collect(*under_way.popleft())
                while under_way:
                    yield _collect(*under_way.popleft())
            finally:
                for _, futures in under_way:
                    for future in futures:
                        future.cancel()


def _collect(number: int, futures: list[Future[Views]]) -> MicroBatch:
    begun = time.perf_counter()
    views = [future.result() for future in futures]
    wait = time.perf_counter() - begun
    stacked = {
        name: torch.from_numpy(np.stack([getattr(v, name) for v in views]))
        for name in ("high", "low", "high_label", "low_label")
    }
    return MicroBatch(number=number, wait_s=wait, **stacked)
