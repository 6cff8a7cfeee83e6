"""Order: a pure function (pools, seed, phase) -> micro-batches -> draws. The atom is the quad: 2 tumour, 1 normal, 1 others.

Each micro-batch's worth of quads is of one lane (lanes.py), the m-th of the phase of lane m mod lanes. Which draws a phase makes
depends on the config alone; ranks may take more or fewer quads at once (sharing.py). Class streams run on across epochs: each pass
over a class's pairs is dealt anew and visits each once. A draw's index is its place in the phase; all randomness of a draw is keyed
by it. Any place is computed by itself, none from the one before: resuming costs milliseconds.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.randomness import generator
from mlseg_dist.data.lanes import Deal, Pools, deal, lanes_for

QUAD = (1, 1, 0, 2)
"""Training classes of a quad's draws: tumour, tumour, background/normal, others."""


@dataclass(frozen=True)
class Draw:
    """The `index`-th sample of a phase. pair: its number in the corpus."""

    index: int
    pair: int


@dataclass(frozen=True)
class Place:
    """Where a draw lies: pass over its class, lane, window of the lane's stretch, place in the shuffled window."""

    training_class: int
    turn: int
    lane: int
    window: int
    offset: int


class Order:
    """Draws of a phase.

    Excluded pairs: a draw whose pair is excluded takes the next pair of its window that is not, around it; then of the following
    windows of its lane; then of the other lanes, in the same pass. So draws are a pure function of (order, excluded), and a
    pair that a rank finds to be bad while it reads leads to the same draw as one that was excluded before.

    quads, micro_batches_per_step: of the config; draws depend on them. at_once: quads of what micro_batch() gives, by which
    micro-batches are counted here; None: `quads`.
    """

    def __init__(
        self,
        pools: Pools,
        seed: int,
        phase: str,
        quads: int,
        micro_batches_per_step: int,
        at_once: int | None = None,
    ) -> None:
        self.pools, self.seed, self.phase, self.quads = pools, seed, phase, quads
        self.at_once = at_once or quads
        self.lanes = lanes_for(int((pools.counts.sum(axis=0) > 0).sum()), micro_batches_per_step)
        self._each = [quads * QUAD.count(c) for c in range(len(pools.sizes))]
        self.deal_of = lru_cache(maxsize=16)(self._make_deal)
        self._pairs = lru_cache(maxsize=4 * self.lanes + 16)(self._make_pairs)

    def micro_batch(self, number: int, excluded: Collection[int] = ()) -> list[Draw]:
        """The draws of micro-batch `number` of the phase, quad by quad."""
        size = self.at_once * len(QUAD)
        return [self.draw(index, excluded) for index in range(number * size, (number + 1) * size)]

    def draw(self, index: int, excluded: Collection[int] = ()) -> Draw:
        """The `index`-th draw. Raises UserError when every pair of its class is excluded."""
        place = self.place(index)
        pair = int(self._pairs(place.training_class, place.turn, place.lane, place.window)[place.offset])
        return Draw(index, pair) if pair not in excluded else next(self.replacements(index, excluded))

    def replacements(self, index: int, excluded: Collection[int]) -> Iterator[Draw]:
        """The draw and what takes its place, one after the other, when its pair cannot be read. Raises UserError at the end."""
        place = self.place(index)
        c, turn = place.training_class, place.turn
        begin = place.offset
        for lane, number in self._windows_from(place):
            pairs = self._pairs(c, turn, lane, number)
            for pair in np.concatenate([pairs[begin:], pairs[:begin]]).tolist():
                if pair not in excluded:
                    yield Draw(index, pair)
            begin = 0
        raise UserError(
            f"no pair of class {c} is left: all are excluded", "train.bad_samples", "Build the shards again."
        )

    def _windows_from(self, place: Place) -> Iterator[tuple[int, int]]:
        """Lane and number of all windows of a pass: the place's, those after it around its lane, those of the other lanes."""
        for ahead in range(self.lanes):
            lane = (place.lane + ahead) % self.lanes
            count = self.deal_of(place.training_class, place.turn).windows(lane)
            first = place.window if ahead == 0 else 0
            yield from ((lane, (first + n) % count) for n in range(count))

    def place(self, index: int) -> Place:
        """Where the `index`-th draw of the phase lies."""
        quad, slot = divmod(index, len(QUAD))
        c = QUAD[slot]
        position = quad * QUAD.count(c) + QUAD[:slot].count(c)
        turn = position // self.pools.sizes[c]
        lane = position // self._each[c] % self.lanes
        nth = self._drawn_before(c, lane, position) - self._drawn_before(c, lane, turn * self.pools.sizes[c])
        dealt = self.deal_of(c, turn)
        window = dealt.window_of(lane, nth)
        begin = dealt.window(lane, window)[2]
        return Place(c, turn, lane, window, int(dealt.lane_start[lane]) + nth - begin)

    def lane(self, number: int) -> int:
        """The lane that micro-batch `number` begins in."""
        return number * self.at_once // self.quads % self.lanes

    def shards(self, number: int, ahead: int = 0) -> list[int]:
        """Shards of the windows that micro-batch `number` begins in (ahead 0), or of their lanes' windows after those (1)."""
        found: list[int] = []
        first, last = number * self.at_once, (number + 1) * self.at_once
        # Where each lane of it begins.
        for quad in [first, *range((first // self.quads + 1) * self.quads, last, self.quads)]:
            for c in range(len(self._each)):
                place = self.place(quad * len(QUAD) + QUAD.index(c))
                turn, window = place.turn, place.window + ahead
                if window >= self.deal_of(c, turn).windows(place.lane):
                    turn, window = turn + 1, 0
                dealt = self.deal_of(c, turn)
                if window < dealt.windows(place.lane):
                    low, high, *_ = dealt.window(place.lane, window)
                    found += dealt.shard[low:high].tolist()
        return list(dict.fromkeys(found))

    def passes(self, micro_batches: int) -> list[float]:
        """How often each class is gone through in so many micro-batches."""
        quads = micro_batches * self.at_once
        return [quads * QUAD.count(c) / size for c, size in enumerate(self.pools.sizes)]

    def _drawn_before(self, c: int, lane: int, position: int) -> int:
        """Draws of a lane among the first `position` draws of a class."""
        each = self._each[c]
        rounds, rest = divmod(position, self.lanes * each)
        return rounds * each + min(max(rest - lane * each, 0), each)

    def _make_deal(self, c: int, turn: int) -> Deal:
        begin, end = turn * self.pools.sizes[c], (turn + 1) * self.pools.sizes[c]
        shares = [self._drawn_before(c, lane, end) - self._drawn_before(c, lane, begin) for lane in range(self.lanes)]
        random = generator(self.seed, "order", self.phase, c, turn)
        return deal(self.pools.counts[c], self.pools.slide, self.pools.stratum, np.array(shares), random)

    def _make_pairs(self, c: int, turn: int, lane: int, window: int) -> np.ndarray:
        """Numbers of a window's pairs, shuffled, int32."""
        dealt = self.deal_of(c, turn)
        low, high, begin, end = dealt.window(lane, window)
        parts = []
        for piece in range(low, high):
            cut = max(0, begin - int(dealt.start[piece])), min(0, end - int(dealt.start[piece + 1]))
            first, last = int(dealt.begin[piece]) + cut[0], int(dealt.end[piece]) + cut[1]
            parts.append(self.pools.of_class(c, int(dealt.shard[piece]), first, last))
        return generator(self.seed, "window", self.phase, c, turn, lane, window).permutation(np.concatenate(parts))
