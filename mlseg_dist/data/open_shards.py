"""Shards that threads read from: opened once, a bounded number of them, closed when none reads any more."""

import resource
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock

from shards.tar import ShardReader

_SPARE = 256  # file handles left to the rest of the process
_MOST = 1024


class _Held:
    """A reader, once it is open, and how many threads use it."""

    def __init__(self) -> None:
        self.opening, self.users, self.forgotten = Lock(), 0, False
        self.reader: ShardReader | None = None

    def open(self, path: Path, members: tuple[str, ...]) -> ShardReader:
        """Other threads that want the same shard wait here, others do not."""
        with self.opening:
            if self.reader is None:
                self.reader = ShardReader(path, members)
            return self.reader

    def close(self) -> None:
        if self.reader is not None:
            self.reader.close()


class OpenShards:
    """At most `most` shards stay open (default: what the limit of file handles, `ulimit -n`, allows; at most 1024)."""

    def __init__(self, most: int | None = None) -> None:
        handles = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.most = most or max(16, min(_MOST, handles - _SPARE))
        self.opened = 0
        """How often a shard was opened."""
        self._held: OrderedDict[Path, _Held] = OrderedDict()
        self._lock = Lock()

    @contextmanager
    def using(self, path: Path, members: tuple[str, ...]) -> Iterator[ShardReader]:
        """The shard's reader; it stays open at least for the length of the `with`. Raises BadShard when it cannot be opened."""
        with self._lock:
            held = self._held.get(path)
            if held is None:
                held = self._held[path] = _Held()
                self.opened += 1
            self._held.move_to_end(path)
            held.users += 1
            unused = self._too_many()
        for old in unused:
            old.close()
        try:
            yield held.open(path, members)
        finally:
            with self._lock:
                held.users -= 1
                done = held.users == 0 and held.forgotten
                if held.users == 0 and held.reader is None and self._held.get(path) is held:
                    del self._held[path]  # it could not be opened: the next one tries again
            if done:
                held.close()

    def forget(self, path: Path) -> None:
        """Open the shard anew next time."""
        with self._lock:
            held = self._held.pop(path, None)
            if held is not None:
                held.forgotten = True
            idle = held is not None and held.users == 0
        if idle and held is not None:
            held.close()

    def forget_gone(self, folder: Path) -> None:
        """Let go of shards in `folder` that were removed, so that their space becomes free."""
        with self._lock:
            paths = [path for path in self._held if path.parent == folder]
        for path in paths:
            if not path.exists():
                self.forget(path)

    def close(self) -> None:
        with self._lock:
            paths = list(self._held)
        for path in paths:
            self.forget(path)

    def _too_many(self) -> list[_Held]:
        """Take out the least recently used shards that nobody reads, until at most `most` are left."""
        taken = []
        for path in list(self._held)[:-1]:
            if len(self._held) <= self.most:
                break
            if self._held[path].users == 0:
                taken.append(self._held.pop(path))
        return taken
