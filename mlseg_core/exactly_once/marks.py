"""What workers tell each other of units that they have done, on one page of bytes that all of them keep open.

In: names of units, in the plan's order. Out: those that are marked. A look is one read of an open file; a listing of all records
is a call to a parallel file system's metadata server for every few hundred names. Marks are hints: one may come late or be lost,
and then the unit's record is asked for. None is set before its record is there.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress

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
