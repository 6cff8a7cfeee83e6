"""Pairs that cannot be read: an error, or left out by all ranks alike and counted.


A rank that meets a bad pair while it trains replaces it at once as everyone would (order.Order); one met while validating is not
scored. Then all ranks tell each other; from there on nobody draws or scores those pairs, and what was prepared ahead is made again.
The cursor keeps them, so a resumed run does the same, on any number of ranks. (A pair that could not be read once and can later,
met again after a crash that lost the step, is used after all.)
"""

import logging
from typing import Any, Protocol

from mlseg_dist.config import TrainConfig
from mlseg_dist.data.batches import MicroBatch
from mlseg_dist.data.corpus import BadPair
from mlseg_dist.training.engine import World

_log = logging.getLogger(__name__)


class Reader(Protocol):
    """Reads pairs, except those that are excluded."""

    excluded: frozenset[int]


class Exclusions:
    """The excluded pairs of a phase's training or validation; the same on every rank between two steps.

    reader: told of them. total: pairs that it reads. where: what it reads them for, in words.
    """

    def __init__(self, reader: Reader, total: int, train: TrainConfig, world: World, where: str = "training") -> None:
        self._reader, self._total, self._train, self._world, self._where = reader, total, train, world, where
        self._found: dict[int, str] = {}

    @property
    def pairs(self) -> list[int]:
        """For the cursor."""
        return sorted(self._reader.excluded)

    def load(self, pairs: list[int]) -> None:
        """What a cursor kept; before the first micro-batch."""
        self._reader.excluded = frozenset(pairs)

    def add(self, batch: MicroBatch) -> None:
        self.found(batch.bad)

    def found(self, bad: dict[int, str]) -> None:
        """This rank cannot read these pairs: number -> why."""
        self._found |= bad

    @property
    def waiting(self) -> bool:
        """This rank has met bad pairs in this step."""
        return bool(self._found)

    def settle(self) -> list[dict[str, Any]]:
        """Called by all ranks after a step in which any of them met bad pairs. Returns what is new, for the journal.

        Raises BadPair when more than `train.max_excluded` of the pairs are excluded.
        """
        told = self._world.from_all(self._found)
        new = {pair: why for found in told for pair, why in found.items() if pair not in self._reader.excluded}
        self._found = {}
        if not new:
            return []
        self._reader.excluded = self._reader.excluded.union(new)
        records = [{"pair": pair, "why": new[pair]} for pair in sorted(new)]
        if self._world.rank == 0:
            for record in records:
                _log.warning("excluded from %s: %s", self._where, record["why"])
        if len(self._reader.excluded) > self._train.max_excluded * self._total:
            latest = next(iter(new.values()))
            raise BadPair(
                f"{len(self._reader.excluded)} of {self._total} pairs for {self._where} cannot be read, more than "
                f"train.max_excluded ({self._train.max_excluded:g}); the latest: {latest}. Run `mlseg shards verify`."
            )
        return records
