"""Augmented micro-batches in order, read ahead: threads write each sample into its row of the micro-batch's memory."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import PolicyConfig
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.data.order import Draw, Order
from mlseg_dist.data.prefetch import ReadAhead, Work, batch_memory
from mlseg_dist.data.styled import no_views
from mlseg_dist.data.views import Views, stored_views

AHEAD = 3
"""Micro-batches that are prepared while one is used, at least."""


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


@dataclass(frozen=True)
class Drawn:
    """A micro-batch that is being prepared. excluded: the pairs that were not drawn. images: memory that samples are written to."""

    number: int
    excluded: frozenset[int]
    images: dict[str, torch.Tensor]


Prepared = tuple[Any, dict[int, str]]
"""What is left of a sample to be passed on, if anything; pairs that could not be read in its place -> why."""
Coming = ReadAhead[int, Drawn, Prepared]


class Batches:
    """threshold: the teacher's emit threshold, applied to its labels when they are read.

    Raises UserError for a policy with gan_style where the corpus has no styled views.

    replace_bad: a pair that cannot be read is replaced (order.Order) and told of in MicroBatch.bad; else BadPair is raised.
    pinned: for a GPU.
    """

    def __init__(
        self,
        corpus: Corpus,
        order: Order,
        policy: PolicyConfig,
        patch_px: int,
        threads: int,
        replace_bad: bool = False,
        pinned: bool = False,
    ) -> None:
        self.corpus, self.order, self.policy = corpus, order, policy
        self.patch_px, self.threads = patch_px, max(1, threads)
        self.replace_bad, self.pinned = replace_bad, pinned
        if corpus.styled is None and reads_styled(policy):
            raise no_views(corpus.folder)
        self.excluded: frozenset[int] = frozenset()
        """Pairs that are not drawn. Set it between two micro-batches: what was prepared ahead is then made again."""
        self.mpp = {view: corpus.manifest.views[f"{view}_mpp"] for view in ("high", "low")}

    def sample(self, draw: Draw) -> Views:
        """One augmented sample: a pure function of the draw. Raises BadPair."""
        parameters = draw_parameters(self.policy, self.order.seed, self.order.phase, draw.index)
        views = stored_views(self.corpus, self.corpus.ref(draw.pair), parameters.gan_style)
        return augment(views, parameters, self.mpp, self.patch_px)

    def stream(self, numbers: Iterator[int], ahead: int | None = None) -> Iterator[MicroBatch]:
        """Micro-batches of the given numbers, in that order. ahead: None: as many as keep all threads busy, AHEAD at least."""
        if ahead is None:
            ahead = max(AHEAD, -(-2 * self.threads // len(self.order.micro_batch(0))))
        with ReadAhead(numbers, self._begin, self.threads, ahead, self._before, "batches") as coming:
            for drawn, prepared in coming:
                yield self._made(drawn, prepared, coming.wait_s)

    def _begin(self, number: int) -> Work[Drawn, Prepared]:
        if self.corpus.cache is not None:
            now, ahead = (self.order.shards(number, n) for n in (0, 1))
            self.corpus.prefetch(self.order.lane(number), now, ahead)
        draws = self.order.micro_batch(number, self.excluded)
        drawn = Drawn(number, self.excluded, self._memory(len(draws)))
        return Work(drawn, [partial(self._prepare, drawn, row, draw) for row, draw in enumerate(draws)])

    def _memory(self, samples: int) -> dict[str, torch.Tensor]:
        label = (samples, self.patch_px, self.patch_px)
        image = (*label, 3)
        return batch_memory(self.pinned, high=image, low=image, high_label=label, low_label=label)

    def _before(self, coming: Coming) -> None:
        """Begin again what was begun while other pairs were excluded than now."""
        if any(drawn.excluded != self.excluded for drawn in coming.batches):
            coming.start_again()

    def _prepare(self, drawn: Drawn, row: int, draw: Draw) -> Prepared:
        sample, bad = self._readable(draw, drawn.excluded)
        return self._place(sample, drawn, row), bad

    def _place(self, sample: Any, drawn: Drawn, row: int) -> Any:
        """Write a sample to its row. Returns what is still needed of it: nothing here."""
        for name, rows in drawn.images.items():
            rows[row].numpy()[:] = getattr(sample, name)

    def _made(self, drawn: Drawn, prepared: list[Prepared], wait_s: float) -> MicroBatch:
        bad = {pair: why for _, found in prepared for pair, why in found.items()}
        return MicroBatch(number=drawn.number, wait_s=wait_s, bad=bad, **drawn.images)

    def _readable(self, draw: Draw, excluded: Collection[int]) -> tuple[Any, dict[int, str]]:
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
