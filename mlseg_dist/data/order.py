"""Order: a pure function (pools, seed, phase) -> micro-batches -> draws. The atom is the quad: 2 tumour, 1 normal, 1 others.

Each micro-batch's worth of quads is of one lane, the m-th of the phase of lane m mod lanes. Which draws a phase makes depends
on the config alone; ranks may take more or fewer quads at once (training/sharing.py). Class streams run on across epochs: each
pass over a class's pairs is dealt anew and visits each once. A draw's index is its place in the phase; all randomness of a draw
is keyed by it. Any place is computed by itself, none from the one before: resuming costs milliseconds.

A pass puts the class's pairs on a line, piece by piece; a piece is (a part of) the class's pairs of one shard. Pieces are dealt
so that any stretch of the line mixes stains, scanners and slides in the corpus's proportions. Every lane gets the stretch whose
length is exactly what the lane draws in this pass, so all of a class is seen once before anything is seen twice, and no lane
can lack a class, however few shards hold it: such shards are cut into pieces for many lanes. A stretch falls into windows of at
most WINDOW pieces, which are shuffled each in itself: a lane reads that many shards a class at a time.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.randomness import generator

LANES = 64
"""Most lanes of a corpus."""
WINDOW = 8
"""Most pieces of a window: shards that a lane has open for a class."""
_LEAST_SHARDS = 4  # of a lane

_CLASSES = 3


@dataclass(frozen=True)
class Pools:
    """What can be drawn. Pairs are numbered as in the manifest: shard by shard, row by row.

    classes: uint8 (pairs,), the class that a pair is drawn for: 0, 1, 2, or 255 (not drawn).
    first: int64 (shards + 1,), number of each shard's first pair.
    slide, stratum: int64 (shards,); a stratum is what is to be mixed evenly (stain and scanner).
    """

    classes: np.ndarray
    first: np.ndarray
    slide: np.ndarray
    stratum: np.ndarray

    @cached_property
    def counts(self) -> np.ndarray:
        """int64 (3, shards): pairs of each class in each shard."""
        parts = zip(self.first[:-1], self.first[1:], strict=True)
        return np.array([np.bincount(self.classes[a:b], minlength=256)[:_CLASSES] for a, b in parts], np.int64).T

    @cached_property
    def sizes(self) -> tuple[int, ...]:
        """Pairs of each class."""
        return tuple(int(n) for n in self.counts.sum(axis=1))

    def of_class(self, training_class: int, shard: int, begin: int, end: int) -> np.ndarray:
        """Numbers of the begin-th to the end-th pair of a class in a shard, int32."""
        first = self.first[shard]
        rows = np.flatnonzero(self.classes[first : self.first[shard + 1]] == training_class)[begin:end]
        return (first + rows).astype(np.int32)


def lanes_for(shards: int, micro_batches_per_step: int) -> int:
    """Lanes of a corpus with so many shards to draw from: at most 64, at least 4 shards each.

    Of these the most that are a multiple or a divisor of the micro-batches of a step, so that on any number of ranks no
    two ranks read the same lane (or as few as can be); any number when the nearest such is less than half.
    """
    most = max(1, min(LANES, shards // _LEAST_SHARDS))
    for lanes in range(most, most // 2, -1):
        if lanes % micro_batches_per_step == 0 or micro_batches_per_step % lanes == 0:
            return lanes
    return most


@dataclass(frozen=True)
class Deal:
    """One pass over a class. shard, begin, end (pieces,): which of the class's pairs of which shard a piece is.

    start (pieces + 1,): where each piece begins on the line. lane_start (lanes + 1,): where each lane's stretch begins.
    """

    shard: np.ndarray
    begin: np.ndarray
    end: np.ndarray
    start: np.ndarray
    lane_start: np.ndarray

    def pieces(self, lane: int) -> tuple[int, int]:
        """First and one past the last piece that a lane's stretch touches."""
        low, high = self.lane_start[lane], self.lane_start[lane + 1]
        if low == high:
            return 0, 0
        return int(np.searchsorted(self.start, low, "right")) - 1, int(np.searchsorted(self.start, high, "left"))

    def windows(self, lane: int) -> int:
        """How many windows a lane's stretch has."""
        first, last = self.pieces(lane)
        return -(-(last - first) // WINDOW)

    def window(self, lane: int, number: int) -> tuple[int, int, int, int]:
        """First and one past the last piece of a window; where it begins and ends on the line. Windows have about equally many."""
        first, last = self.pieces(lane)
        count = -(-(last - first) // WINDOW)
        low, high = (first + (last - first) * n // count for n in (number, number + 1))
        begin = max(self.start[low], self.lane_start[lane])
        return low, high, int(begin), int(min(self.start[high], self.lane_start[lane + 1]))

    def window_of(self, lane: int, place: int) -> int:
        """Number of the window that holds the place-th pair of a lane's stretch."""
        first, last = self.pieces(lane)
        piece = int(np.searchsorted(self.start, self.lane_start[lane] + place, "right")) - 1 - first
        count = -(-(last - first) // WINDOW)
        return ((piece + 1) * count - 1) // (last - first)


def deal(
    counts: np.ndarray, slide: np.ndarray, stratum: np.ndarray, shares: np.ndarray, random: np.random.Generator
) -> Deal:
    """counts (shards,): the class's pairs in each shard. shares (lanes,): what each lane draws; they add up to all.

    Shards with more than a window's part of a lane's share are cut into pieces: a class that few shards hold is mixed as well.
    """
    largest = max(1, -(-int(counts.sum()) // (len(shares) * WINDOW)))
    parts = -(-counts // largest)
    shard = np.repeat(np.arange(len(counts)), parts)
    number = np.arange(len(shard)) - np.repeat(np.cumsum(parts) - parts, parts)
    begin, end = (counts[shard] * n // parts[shard] for n in (number, number + 1))
    size = end - begin
    within_slide = _spread(slide[shard], size, random.random(len(shard)), random)
    order = np.argsort(_spread(stratum[shard], size, within_slide, random), kind="stable")
    start = np.concatenate([[0], np.cumsum(size[order])])
    return Deal(shard[order], begin[order], end[order], start, np.concatenate([[0], np.cumsum(shares)]))


def _spread(group: np.ndarray, weight: np.ndarray, key: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Places in [0, 1): the items of a group, in the order of `key`, evenly by weight around a circle from a random point on."""
    order = np.lexsort((key, group))
    groups, weights = group[order], weight[order].astype(np.float64)
    total = np.bincount(groups, weights)
    centre = np.cumsum(weights) - weights / 2 - (np.cumsum(total) - total)[groups]
    places = np.empty(len(group))
    places[order] = (centre / total[groups] + random.random(len(total))[groups]) % 1
    return places


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
