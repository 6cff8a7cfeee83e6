"""Augmented micro-batches in order, prepared ahead by threads (OpenCV and file reads release the interpreter)."""

import time
from collections import deque
from collections.abc import Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch

from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import PolicyConfig
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.data.order import Draw, Order
from mlseg_dist.data.styled import no_views
from mlseg_dist.data.views import Views, stored_views


@dataclass(frozen=True)
class MicroBatch:
    """number: of the micro-batch in the phase. Images uint8 (B, P, P, 3), labels uint8 (B, P, P). wait_s: time spent waiting.

    bad: pair -> why it could not be read; the batch holds replacements of these.
    """

    number: int
    high: torch.Tensor
    low: torch.Tensor
    high_label: torch.Tensor
    low_label: torch.Tensor
    wait_s: float
    bad: dict[int, str]


@dataclass
class _UnderWay:
    number: int
    excluded: frozenset[int]
    samples: list[Future[tuple[Views, dict[int, str]]]]

    def cancel(self) -> None:
        for sample in self.samples:
            sample.cancel()


class Batches:
    """threshold: the teacher's emit threshold, applied to its labels when they are read.

    Raises UserError for a policy with gan_style where the corpus has no styled views.

    replace_bad: a pair that cannot be read is replaced (order.Order) and told of in MicroBatch.bad; else BadPair is raised.
    """

    def __init__(
        self,
        corpus: Corpus,
        order: Order,
        policy: PolicyConfig,
        patch_px: int,
        threshold: float,
        threads: int,
        replace_bad: bool = False,
    ) -> None:
        self.corpus, self.order, self.policy = corpus, order, policy
        self.patch_px, self.threshold, self.threads = patch_px, threshold, max(1, threads)
        self.replace_bad = replace_bad
        if corpus.styled is None and reads_styled(policy):
            raise no_views(corpus.folder)
        self.excluded: frozenset[int] = frozenset()
        """Pairs that are not drawn. Set it between two micro-batches: what was prepared ahead is then made again."""
        self.mpp = {view: corpus.manifest.views[f"{view}_mpp"] for view in ("high", "low")}

    def sample(self, draw: Draw) -> Views:
        """One augmented sample: a pure function of the draw. Raises BadPair."""
        parameters = draw_parameters(self.policy, self.order.seed, self.order.phase, draw.index)
        views = stored_views(self.corpus, self.corpus.ref(draw.pair), self.threshold, parameters.gan_style)
        return augment(views, parameters, self.mpp, self.patch_px)

    def stream(self, numbers: Iterator[int], ahead: int = 3) -> Iterator[MicroBatch]:
        """Micro-batches of the given numbers, in that order, `ahead` of them under way."""
        with ThreadPoolExecutor(self.threads, thread_name_prefix="batches") as pool:
            under_way: deque[_UnderWay] = deque()
            try:
                for number in numbers:
                    under_way.append(self._start(pool, number))
                    if len(under_way) > ahead:
                        yield self._finish(pool, under_way)
                while under_way:
                    yield self._finish(pool, under_way)
            finally:
                for batch in under_way:
                    batch.cancel()

    def _start(self, pool: ThreadPoolExecutor, number: int) -> _UnderWay:
        if self.corpus.cache is not None:
            now, ahead = (self.order.shards(number, n) for n in (0, 1))
            self.corpus.prefetch(self.order.lane(number), now, ahead)
        draws = self.order.micro_batch(number, self.excluded)
        return _UnderWay(number, self.excluded, [pool.submit(self._sample, draw, self.excluded) for draw in draws])

    def _start_again(self, pool: ThreadPoolExecutor, under_way: deque[_UnderWay]) -> None:
        """Other pairs are excluded now than when these were begun."""
        for batch in under_way:
            batch.cancel()
        again = [self._start(pool, batch.number) for batch in under_way]
        under_way.clear()
        under_way.extend(again)

    def _finish(self, pool: ThreadPoolExecutor, under_way: deque[_UnderWay]) -> MicroBatch:
        begun = time.perf_counter()
        if under_way[0].excluded != self.excluded:
            self._start_again(pool, under_way)
        batch = under_way.popleft()
        samples = [sample.result() for sample in batch.samples]
        wait = time.perf_counter() - begun
        stacked = {
            name: torch.from_numpy(np.stack([getattr(views, name) for views, _ in samples]))
            for name in ("high", "low", "high_label", "low_label")
        }
        bad = {pair: why for _, found in samples for pair, why in found.items()}
        return MicroBatch(number=batch.number, wait_s=wait, bad=bad, **stacked)

    def _sample(self, draw: Draw, excluded: Collection[int]) -> tuple[Views, dict[int, str]]:
        """The sample, or that of the first replacement that can be read; and what could not be."""
        try:
            return self.sample(draw), {}
        except BadPair as error:
            if not self.replace_bad:
                raise
            bad = {draw.pair: str(error)}
        for candidate in self.order.replacements(draw.index, {*excluded, draw.pair}):
            try:
                return self.sample(candidate), bad
            except BadPair as error:
                bad[candidate.pair] = str(error)
        raise AssertionError("replacements end with an error")
