"""What simulated ranks read: shards they touch, open and copy, in our order and in a global shuffle of each class."""

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.common.bare_corpus import PAIR_BYTES, SIDECAR_BYTES
from mlseg_dist.data.order import QUAD, Order, Pools
from shards.tar import index_type

_WARM, _COUNTED = 3000, 4000
"""Samples of a rank before and while its opens are counted."""
_ROW_BYTES = index_type(4).itemsize + index_type(3).itemsize
"""A row of the index of a shard, and of its sidecar."""

MicroBatch = Callable[[int], list[int]]
"""Number of a micro-batch -> its pairs."""


@dataclass(frozen=True)
class Reading:
    """Per rank and 1,000 samples, with sidecars. distinct: files; opened: files, of which at most `most` stay open.

    mb: what is read. mb_whole_index: if a shard's index were read when the shard is opened, not its rows one by one.
    """

    distinct: float
    opened: float
    mb: float
    mb_whole_index: float


def ours(order: Order) -> MicroBatch:
    return lambda number: [draw.pair for draw in order.micro_batch(number)]


def global_shuffle(pools: Pools, quads: int) -> MicroBatch:
    """2:1:1 too, each class a permutation of all its pairs."""
    random = np.random.default_rng(1)
    shuffled = [
        random.permutation(np.flatnonzero(pools.classes == c).astype(np.int32)) for c in range(len(pools.sizes))
    ]

    def micro_batch(number: int) -> list[int]:
        found: list[int] = []
        for c, pairs in enumerate(shuffled):
            each = quads * QUAD.count(c)
            found += pairs[np.arange(number * each, (number + 1) * each) % len(pairs)].tolist()
        return found

    return micro_batch


def numbers(rank: int, world: int, per_step: int, first_step: int) -> Iterator[int]:
    """Micro-batches of a rank."""
    step = first_step
    while True:
        yield from (step * per_step + m for m in range(rank, per_step, world))
        step += 1


def reading(draw: MicroBatch, pools: Pools, world: int, per_step: int, most_open: int) -> Reading:
    """Mean over up to four ranks."""
    found = []
    for rank in np.unique(np.linspace(0, world - 1, 4).astype(int)).tolist():
        micro_batches = numbers(rank, world, per_step, first_step=1000)
        opened: OrderedDict[int, None] = OrderedDict()
        samples, opens, distinct, last = 0, 0, [], set()
        while samples < _WARM + _COUNTED:
            for shard in np.searchsorted(pools.first, draw(next(micro_batches)), "right") - 1:
                counts = _WARM <= samples < _WARM + _COUNTED
                if shard not in opened:
                    opens += counts
                    if 2 * len(opened) >= most_open:  # a shard and its sidecar
                        opened.popitem(last=False)
                    opened[shard] = None
                opened.move_to_end(shard)
                last.add(int(shard))
                samples += 1
                if samples % 1000 == 0:
                    distinct += [len(last)] if counts else []
                    last = set()
        opens_per_1000 = opens / (_COUNTED / 1000)
        rows = np.diff(pools.first).mean()
        mb = 1000 * (PAIR_BYTES + SIDECAR_BYTES + _ROW_BYTES) / 1e6
        whole = 1000 * (PAIR_BYTES + SIDECAR_BYTES) / 1e6 + opens_per_1000 * rows * _ROW_BYTES / 1e6
        found.append((2 * np.mean(distinct), 2 * opens_per_1000, mb, whole))
    return Reading(*np.mean(found, axis=0).tolist())


def copied_mb(order: Order) -> float:
    """Whole shards that a cache of the windows at hand copies, MB per 1,000 samples of a rank, mean over a pass."""
    total = 0.0
    shard_mb = np.diff(order.pools.first) * (PAIR_BYTES + SIDECAR_BYTES) / 1e6
    for c, size in enumerate(order.pools.sizes):
        dealt = order.deal_of(c, 0)
        used = sum(shard_mb[dealt.shard[slice(*dealt.pieces(lane))]].sum() for lane in range(order.lanes))
        total += used / size * 1000 * QUAD.count(c) / len(QUAD)
    return total


def mixing(draw: MicroBatch, pools: Pools, count: int = 300) -> tuple[float, float]:
    """Different slides, and different strata (stain and scanner), in a micro-batch; means."""
    slides, strata = [], []
    for number in range(5000, 5000 + count):
        shards = np.searchsorted(pools.first, draw(number), "right") - 1
        slides.append(len(set(pools.slide[shards])))
        strata.append(len(set(pools.stratum[shards])))
    return float(np.mean(slides)), float(np.mean(strata))
