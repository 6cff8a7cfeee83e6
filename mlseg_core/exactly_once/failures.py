"""When a unit fails, whose fault is it: the unit's, or that of a node on which nothing works?

A node with a broken GPU, or one that does not see the slides, fails a unit in no time and takes the next: it would fail the
whole map. So a failure counts only if this process has done others, a second process has to fail at the same unit, and one that
fails three in a row stops stealing work.
In: what a worker's units came to. Out: `failed/UNIT.json`, what is given up, whether the worker may go on.
"""

from mlseg_core.exactly_once.records import DEATHS, Failed, Unit, read_failed, write_record
from mlseg_core.node import node_name
from mlseg_core.store import Store

_TRIES = 2
"""Processes that have to fail at a unit, where there are several nodes, before no other one tries it."""
_IN_A_ROW = 3
"""Failures after which a process doubts itself."""


class Failures:
    """The failures that one worker's process has met. spread: other workers are on other nodes, and may succeed where it fails.

    given_up: units that this process leaves alone: they failed here, or often enough elsewhere.
    """

    def __init__(self, store: Store, spread: bool) -> None:
        self._store, self._spread = store, spread
        self._any_done, self._in_a_row = False, 0
        self._here: dict[str, Failed] = {}
        self.given_up: set[str] = set()

    @property
    def doubts_itself(self) -> bool:
        """Too many failures in a row: it leaves the other workers' units alone."""
        return self._spread and self._in_a_row >= _IN_A_ROW

    def done(self) -> None:
        """A unit was done here."""
        self._any_done, self._in_a_row = True, 0

    def add(self, unit: Unit, error: Exception, trace: str) -> None:
        """A unit failed here and is not done. Its deaths stay on record; a try counts unless this process may be to blame."""
        before = read_failed(self._store, unit)
        counts = not self._spread or (self._any_done and not self.doubts_itself)
        tries, deaths = (before.tries, before.deaths) if before is not None else (0, 0)
        failed = Failed.of(unit, error, trace, node_name(), tries + counts, deaths)
        self._in_a_row += 1
        self._here[unit.name] = failed
        self.given_up.add(unit.name)
        write_record(self._store, failed)

    def gives_up(self, unit: Unit) -> bool:
        """Whether a unit that failed somewhere need not be tried again."""
        known = read_failed(self._store, unit)
        if known is not None and (known.deaths >= DEATHS or known.tries >= (_TRIES if self._spread else 1)):
            self.given_up.add(unit.name)
        return unit.name in self.given_up

    def here(self) -> list[Failed]:
        """Those that failed here, in that order."""
        return list(self._here.values())
