"""Which units are done, whoever did them; and the marks by which workers tell each other.

A listing of all records is a call to a parallel file system's metadata server for every few hundred names. So workers also keep
one page of bytes open, one byte a unit, and reading it is one read of an open file. Marks are hints: one may come late or be
lost, and then the unit's record is asked for. No mark is set before its record is there.
"""

import time
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import Any

from mlseg_core.exactly_once.records import Done, Unit, missing_files, read_done
from mlseg_core.store import Store


class Marks:
    """page: name in the store, of one plan alone. Made before the first listing of records; see `listed`."""

    def __init__(self, store: Store, page: str, names: Sequence[str]) -> None:
        self._store, self._page, self._names = store, page, names
        self._place = {name: place for place, name in enumerate(names)}
        self._void: set[str] = set()
        self._void = set(self.read() or ())

    def listed(self, names: Collection[str]) -> None:
        """The records that the first listing showed. What was marked before and is not among them is gone: its mark is void."""
        self._void -= set(names)

    def read(self) -> list[str] | None:
        """All that are marked. None: the store keeps no pages, or this one cannot be read."""
        page = self._bytes(0, len(self._names))
        if page is None:
            return None
        return [name for name, mark in zip(self._names, page, strict=True) if mark and name not in self._void]

    def has(self, name: str) -> bool:
        """Somebody says that it is done."""
        page = self._bytes(self._place[name], 1) if name not in self._void else None
        return page is not None and page != b"\0"

    def add(self, name: str) -> None:
        """Its record is there."""
        with suppress(OSError):  # of a full disk: it is only a hint
            self._store.mark(self._page, self._place[name])

    def _bytes(self, first: int, count: int) -> bytes | None:
        try:
            return self._store.marks(self._page, first, count)
        except OSError:  # a handle that a network file system calls stale
            return None


class UnitStatus:
    """Which units are done, and how many have failed, whoever did them.

    own: names of a worker's own units. Their records are read and their files looked for, once, at the start; of all others,
    and later, a record's name is believed: their owners look, and the merge proves it. (If 256 workers read each other's
    records, that is hundreds of reads a unit.) None: every record is read.  proven: they were read before in this run.
    marks: what workers tell each other; after the first look they are read instead of a listing.
    done: name -> pieces; None where the record was not read.  disproved: own units whose records are of other inputs, or of files
    that are gone or cut short: `broken` has these.
    """

    def __init__(
        self,
        store: Store,
        units: Sequence[Unit],
        own: Iterable[str] | None = None,
        proven: bool = False,
        marks: Marks | None = None,
    ) -> None:
        self._store, self._units, self._reads_all = store, {unit.name: unit for unit in units}, own is None
        self._marks = marks
        self.total = len(self._units)
        self.done: dict[str, int | None] = {}
        self.failed: set[str] = set()
        self._told: set[str] = set()
        self.broken: dict[str, Done] = {}
        self.disproved: set[str] = set()
        self._cost = sum(unit.cost for unit in units)
        self._cost_done = self._cost_read = 0.0
        self._looked, self._took = 0.0, 0.0
        self.refresh(force=True, own=() if proven else set(own or ()))

    def add(self, record: Done) -> None:
        name, cost = record.unit, self._units[record.unit].cost
        if name not in self.done:
            self._cost_done += cost
        if self.done.get(name) is None:
            self._cost_read += cost
        self.done[name] = record.pieces
        self.failed.discard(name)

    def believe(self, name: str, failed: bool = False) -> None:
        """There is a record of that name, whatever a listing that the file system keeps from before says."""
        if failed:
            self._told.add(name)
            self.failed.add(name)
        elif name not in self.done:
            self.done[name] = None
            self._cost_done += self._units[name].cost
            self.failed.discard(name)

    def refresh(self, force: bool = False, own: Collection[str] = ()) -> None:
        """Look what others have done; seldom, when looking takes long. own: to be checked."""
        begun = time.monotonic()
        if not force and begun - self._looked < max(self._store.patience_s, 50 * self._took):
            return
        marked = self._marks.read() if self._marks is not None and self._looked else None
        listed = self._names("done") if marked is None else marked
        if self._marks is not None and marked is None:
            self._marks.listed(listed)
        self._check([name for name in listed if name in own])
        new = [name for name in listed if name not in self.done and name not in self.disproved]
        if self._reads_all:
            records = [record for name in new if (record := read_done(self._store, self._units[name])) is not None]
            missing = missing_files(self._store, records)
            for record in records:
                if record.unit not in missing:
                    self.add(record)
        else:
            self.done |= dict.fromkeys(new)
            self._cost_done += sum(self._units[name].cost for name in new)
        self.failed = self._told.union(self._names("failed")) - self.done.keys()
        self._looked = time.monotonic()
        self._took = self._looked - begun

    def figures(self) -> dict[str, Any]:
        """Fields of a Tally. pieces: of records that were not read, in proportion to their cost."""
        pieces = sum(pieces for pieces in self.done.values() if pieces is not None)
        return {
            "done": len(self.done),
            "pieces": round(pieces * self._cost_done / self._cost_read) if self._cost_read else 0,
            "failed": len(self.failed),
            "cost_done": self._cost_done,
            "cost_total": self._cost - sum(self._units[name].cost for name in self.failed),
        }

    def _check(self, own: Iterable[str]) -> None:
        for name in own:
            record = read_done(self._store, self._units[name])
            whole = record is not None and all(self._store.size(f) == fact["bytes"] for f, fact in record.files.items())
            if record is not None and whole:
                self.add(record)
                continue
            self.disproved.add(name)
            if record is not None:
                self.broken[name] = record

    def _names(self, folder: str) -> list[str]:
        names = (name.removesuffix(".json") for name in self._store.names(folder))
        return [name for name in names if name in self._units]
