"""Micro-batches made on a GPU: threads read, join labels and turn draws into arrays; DALI decodes and augments.

Same draws, same replacements of bad pairs, same micro-batches as mlseg_dist.data.batches.Batches; only pixels differ a little.
"""

import time
from collections.abc import Iterator

import torch

from mlseg_dist.augment import draw_parameters
from mlseg_dist.augment.dali.executor import DaliExecutor
from mlseg_dist.augment.dali.inputs import Encoded, Prepared
from mlseg_dist.config import PolicyConfig
from mlseg_dist.data import batches
from mlseg_dist.data.batches import Batches, Coming, Drawn, MicroBatch
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.labels import VIEWS
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
        threads: int,
        replace_bad: bool = False,
        device_id: int | None = None,
    ) -> None:
        super().__init__(corpus, order, policy, patch_px, threads, replace_bad)
        stored, size = int(corpus.manifest.views["store_px"]), len(order.micro_batch(0))
        self._executor = DaliExecutor(policy, patch_px, stored, self.mpp, size, device_id, self.threads)
        self._fed = 0
        """Micro-batches under way that DALI has."""

    def sample(self, draw: Draw) -> Prepared:  # type: ignore[override]
        """A sample as DALI takes it. Raises BadPair."""
        ref = self.corpus.ref(draw.pair)
        parameters = draw_parameters(self.policy, self.order.seed, self.order.phase, draw.index)
        members = self.corpus.read_styled(ref, parameters.gan_style)
        fine = {view: decode_label(members[f"{view}.png"]) for view in VIEWS}
        joined = joined_labels(self.corpus, ref, fine)
        encoded = Encoded(members["high.jpg"], members["low.jpg"], joined["high"], joined["low"], parameters)
        return self._executor.prepare(encoded)

    def stream(self, numbers: Iterator[int], ahead: int | None = None) -> Iterator[MicroBatch]:
        """As of Batches; one stream at a time."""
        try:
            yield from super().stream(numbers, ahead)
        finally:
            self._drop()

    def _memory(self, samples: int) -> dict[str, torch.Tensor]:
        """DALI has its own."""
        return {}

    def _place(self, sample: Prepared, drawn: Drawn, row: int) -> Prepared:
        return sample

    def _before(self, coming: Coming) -> None:
        """Feed DALI what it has room for; when other pairs are excluded than before, all that was prepared begins again."""
        if any(drawn.excluded != self.excluded for drawn in coming.batches):
            self._drop()
            coming.start_again()
        while self._fed < min(self._executor.ahead, len(coming.under_way)):
            self._executor.feed([sample for sample, _ in coming.under_way[self._fed].wait()])
            self._fed += 1

    def _made(self, drawn: Drawn, prepared: list[batches.Prepared], wait_s: float) -> MicroBatch:
        begun = time.perf_counter()
        patches = self._executor.collect()
        self._fed -= 1
        images = {name: getattr(patches, name) for name in ("high", "low", "high_label", "low_label")}
        made = Drawn(drawn.number, drawn.excluded, images)
        return super()._made(made, prepared, wait_s + time.perf_counter() - begun)

    def _drop(self) -> None:
        self._executor.drop()
        self._fed = 0
