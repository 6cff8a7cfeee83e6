"""How one pass over the pairs of a class is shared out to lanes and windows. Pure functions of counts and a generator.

A pass puts the class's pairs on a line, piece by piece; a piece is (a part of) the class's pairs of one shard. Pieces are dealt so
that any stretch of the line mixes stains, scanners and slides in the corpus's proportions. Every lane gets the stretch whose
length is exactly what the lane draws in this pass, so all of a class is seen once before anything is seen twice, and no lane
can lack a class, however few shards hold it: such shards are cut into pieces for many lanes. A stretch falls
into windows of at most WINDOW pieces, which are shuffled each in itself: a lane reads that many shards a class at a time.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

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
