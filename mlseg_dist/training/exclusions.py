"""Pairs that cannot be read: an error, or left out by all ranks alike and counted.

A rank that meets a bad pair replaces it at once as everyone would (order.Order). At the end of the step all ranks tell each other;
from the next step on nobody draws those pairs, and what was prepared ahead is made again. The cursor keeps them, so a resumed run
draws the same, on any number of ranks. (A pair that could not be read once and can later, met again after a crash that lost the
step, is drawn after all.)
"""

import sys
from typing import Any

from mlseg_dist.config import TrainConfig
from mlseg_dist.data.batches import Batches, MicroBatch
from mlseg_dist.data.corpus import BadPair
from mlseg_dist.training.engine import World


class Exclusions:
    """The excluded pairs of a phase; the same on every rank between two steps."""

    def __init__(self, batches: Batches, train: TrainConfig, world: World) -> None:
        self._batches, self._train, self._world = batches, train, world
        self._found: dict[int, str] = {}

    @property
    def pairs(self) -> list[int]:
        """For the cursor."""
        return sorted(self._batches.excluded)

    def load(self, pairs: list[int]) -> None:
        """What a cursor kept; before the first micro-batch."""
        self._batches.excluded = frozenset(pairs)

    def add(self, batch: MicroBatch) -> None:
        self._found |= batch.bad

    @property
    def waiting(self) -> bool:
        """This rank has met bad pairs in this step."""
        return bool(self._found)

    def settle(self) -> list[dict[str, Any]]:
        """Called by all ranks after a step in which any of them met bad pairs. Returns what is new, for the journal.

        Raises BadPair when more than `train.max_excluded` of the pairs to draw from are excluded.
        """
        told = self._world.from_all(self._found)
        new = {pair: why for found in told for pair, why in found.items() if pair not in self._batches.excluded}
        self._found = {}
        self._batches.excluded = self._batches.excluded.union(new)
        records = [{"pair": pair, "why": new[pair]} for pair in sorted(new)]
        if self._world.rank == 0:
            for record in records:
                print(f"EXCLUDED from training: {record['why']}", file=sys.stderr, flush=True)
        total = sum(self._batches.order.pools.sizes)
        if len(self._batches.excluded) > self._train.max_excluded * total:
            latest = next(iter(new.values()), "")
            raise BadPair(
                f"{len(self._batches.excluded)} of {total} pairs cannot be read, more than train.max_excluded "
                f"({self._train.max_excluded:g}); the latest: {latest}. Run `mlseg shards verify`."
            )
        return records
