"""Micro-batches made on a GPU: threads read, join labels and turn draws into arrays; DALI decodes and augments.

Same draws, same replacements of bad pairs, same micro-batches as mlseg_dist.data.batches.Batches; only pixels differ a little.
"""

import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mlseg_dist.augment import draw_parameters
from mlseg_dist.augment.dali.executor import DaliExecutor
from mlseg_dist.augment.dali.inputs import Encoded, Prepared
from mlseg_dist.config import PolicyConfig
from mlseg_dist.data.batches import Batches, MicroBatch
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.order import Draw, Order
from mlseg_dist.data.views import joined_labels
from shards.sample import decode_label


class DaliBatches(Batches):
    """See Batches. device_id: of the rank's GPU; None runs DALI's CPU operators, for tests. Raises UserError."""

    def __init__(
        self,
        corpus: Corpus,
        order: Order,
        policy: PolicyConfig,
        patch_px: int,
        threshold: float,
        threads: int,
        replace_bad: bool = False,
        device_id: int | None = None,
    ) -> None:
        super().__init__(corpus, order, policy, patch_px, threshold, threads, replace_bad)
        stored, size = int(corpus.manifest.views["store_px"]), len(order.micro_batch(0))
        self._executor = DaliExecutor(policy, patch_px, stored, self.mpp, size, device_id, self.threads)
        self._fed = 0
        """Micro-batches under way that DALI has."""

    def sample(self, draw: Draw) -> Prepared:  # type: ignore[override]
        """A sample as DALI takes it. Raises BadPair."""
        ref = self.corpus.ref(draw.pair)
        parameters = draw_parameters(self.policy, self.order.seed, self.order.phase, draw.index)
        members = self.corpus.read_styled(ref, parameters.gan_style)
        fine = {view: decode_label(members[f"{view}.png"]) for view in ("high", "low")}
        joined = joined_labels(self.corpus, ref, fine, self.threshold)
        encoded = Encoded(members["high.jpg"], members["low.jpg"], joined["high"], joined["low"], parameters)
        return self._executor.prepare(encoded)

    def stream(self, numbers: Iterator[int], ahead: int = 3) -> Iterator[MicroBatch]:
        """As of Batches; one stream at a time."""
        try:
            yield from super().stream(numbers, ahead)
        finally:
            self._drop()

    def _finish(self, pool: ThreadPoolExecutor, under_way: deque[Any]) -> MicroBatch:
        begun = time.perf_counter()
        if any(batch.excluded != self.excluded for batch in under_way):
            self._drop()
            self._start_again(pool, under_way)
        while self._fed < min(self._executor.ahead, len(under_way)):
            self._executor.feed([sample.result()[0] for sample in under_way[self._fed].samples])
            self._fed += 1
        batch, patches = under_way.popleft(), self._executor.collect()
        self._fed -= 1
        bad = {pair: why for sample in batch.samples for pair, why in sample.result()[1].items()}
        return MicroBatch(
            batch.number,
            patches.high,
            patches.low,
            patches.high_label,
            patches.low_label,
            time.perf_counter() - begun,
            bad,
        )

    def _drop(self) -> None:
        self._executor.drop()
        self._fed = 0
