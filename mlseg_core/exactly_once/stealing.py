"""Which unit a worker does next: those of its own slice, then what is left of the others', without doing any twice if it can.

In: what is known of all units. Out: one unit after the other, until nothing is left that this worker should try.
"""

import random
from collections.abc import Collection, Iterator, Sequence

from mlseg_core.exactly_once.failures import Failures
from mlseg_core.exactly_once.records import Unit
from mlseg_core.exactly_once.unit_status import Marks, UnitStatus
from mlseg_core.store import Store

_POLLS, _POLLS_OF_ALL = 1, 256
"""How often a worker polls the others' progress while it does its own slice: so often, or its share of so many polls."""
_MISSES, _NAMES_A_CALL = 4, 1500
"""Units found done in a row after which all records are listed again, and one more for each so many names that a listing costs."""
_BEHIND = 0.3
"""A worker is late when so much more of all units than of its own is done."""


def units_in_turn(
    units: Sequence[Unit], own: Sequence[int], policy: "StealPolicy", failures: Failures, place: float
) -> Iterator[tuple[int, bool]]:
    """(unit to do now, is it of this worker's slice): the slice first; then what nobody has done, each worker at another place.

    Workers that steal begin at different places, so that they do not all do the same unit at the same time. What has killed a
    process comes after everything else.
    """
    status = policy.status
    for index in own:
        name = units[index].name
        if name not in status.done and name not in status.failed and not policy.is_stolen(name):
            yield index, True
    status.refresh(force=True)
    while not failures.doubts_itself:
        settled = failures.given_up | status.done.keys()
        left = [i for i in reversed(range(len(units))) if units[i].name not in settled]
        healthy = [i for i in left if units[i].name not in status.failed]
        if not left:
            return
        yield from ((index, False) for index in _stolen(units, healthy or left, policy, failures, place))


def _stolen(
    units: Sequence[Unit], left: list[int], policy: "StealPolicy", failures: Failures, place: float
) -> Iterator[int]:
    """Units of `left` that nobody has done or given up, until so many were taken in a row that a new listing is cheaper.

    The first at the worker's place, the others anywhere: of two that go the same way the second does all again.
    """
    misses, most = 0, _MISSES + len(units) // _NAMES_A_CALL
    anywhere = random.Random(f"{place} {len(left)}")
    while left and misses < most and not failures.doubts_itself:
        index = left.pop(int(place * len(left)))
        place = anywhere.random()
        name = units[index].name
        if policy.is_done(name) or (misses and policy.has_failed(name)):  # the listing is old
            misses += 1
        elif name not in policy.status.failed or not failures.gives_up(units[index]):
            misses = 0
            yield index
    if left:
        policy.status.refresh(force=True)


class StealPolicy:
    """Decides when to poll other workers' progress, and asks of single units where that is cheaper than a listing of all records.

    In its own slice a worker polls near the middle, each at another moment, so that what the furthest one knows is news. One
    that is behind the others, or finds a unit of its slice done, is stolen from: it asks before each from then on.
    """

    def __init__(
        self, store: Store, status: UnitStatus, marks: Marks, own: Collection[str], worker: int, workers: int
    ) -> None:
        self.store, self.status, self.marks, self._own = store, status, marks, own
        self._every = max(1, len(own) // max(_POLLS, _POLLS_OF_ALL // workers))
        self._units = self._every // 4 + worker % (self._every // 2 + 1)
        self._mine = sum(name in status.done for name in own)
        self._thieves = self._is_late()

    def after_a_unit(self) -> None:
        """The worker has done one of its own."""
        self._units += 1
        self._mine += 1
        if self._units % self._every == 0:
            self.status.refresh()
            stolen = sum(name in self.status.done for name in self._own) - self._mine
            self._thieves = self._thieves or stolen > 0 or self._is_late()

    def _is_late(self) -> bool:
        done = len(self.status.done) / max(1, self.status.total)
        return done > self._mine / max(1, len(self._own)) + _BEHIND

    def is_stolen(self, name: str) -> bool:
        """Whether somebody has done a unit of the worker's slice; not asked while nobody steals there."""
        return self._thieves and self.is_done(name)

    def is_done(self, name: str) -> bool:
        """Whether somebody has done it since the last listing."""
        if name in self.status.disproved:
            return False
        if not self.marks.has(name) and not self.store.exists(f"done/{name}.json"):
            return False
        self.status.believe(name)
        return True

    def has_failed(self, name: str) -> bool:
        """Whether somebody has found that it fails since the last listing."""
        if name in self.status.failed or not self.store.exists(f"failed/{name}.json"):
            return False
        self.status.believe(name, failed=True)
        return True
