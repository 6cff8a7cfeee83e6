"""Node-local copies of shards: a folder with a byte budget, shared by the ranks of a node, filled ahead by lane.

A thread copies whole shards, those of the lanes' windows at hand first, then those of the windows after. What is not there (yet),
or no longer, is read where it lies; so is a sample whose copy is damaged. The cache never stops training.
"""

import fcntl
import os
import re
import stat
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from typing import BinaryIO

from shards.manifest import ShardEntry
from shards.tar import BadShard, size_and_index_sha256

_CHUNK = 8 << 20
_IN_USE_S = 120.0
"""A copy that some rank wanted so lately is not removed. Ranks say so every few seconds while they want it."""
_PAUSE_S = 5.0
_PART = ".tmp-"
_COPY = re.compile(rf"(?:{re.escape(_PART)})?[0-9a-f]{{16}}-.+\.tar")
"""Names of copies and of those that are being made; any other file in the folder is somebody else's."""


@dataclass(frozen=True)
class ShardFile:
    """A shard and where it lies."""

    folder: Path
    entry: ShardEntry

    @property
    def path(self) -> Path:
        return self.folder / self.entry.name

    @property
    def cached_name(self) -> str:
        return f"{self.entry.sha256[:16]}-{self.entry.name}"


class ShardCache:
    """budget_bytes: of all copies in the folder, over all ranks; other files there are not touched.

    removed: called when copies may have been removed.
    """

    def __init__(self, folder: Path, budget_bytes: int, removed: Callable[[], None]) -> None:
        self.folder, self.budget_bytes, self._removed = folder, budget_bytes, removed
        self.copied_bytes = 0
        self._wanted: dict[int, tuple[Sequence[ShardFile], Sequence[ShardFile]]] = {}
        self._spoilt: set[str] = set()
        self._lock, self._wake, self._end, self._off = Lock(), Event(), False, False
        self._thread: Thread | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._give_up(error)

    def copy_of(self, source: ShardFile) -> Path | None:
        """The copy, when there is a whole one."""
        path = self.folder / source.cached_name
        return path if source.cached_name not in self._spoilt and path.exists() else None

    def want(self, lane: int, now: Sequence[ShardFile], next_: Sequence[ShardFile]) -> None:
        """What a lane reads from now on, and after that. Returns at once."""
        with self._lock:
            if self._off:
                return
            self._wanted[lane] = (now, next_)
        if self._thread is None:
            self._thread = Thread(target=self._work, name="shard-cache", daemon=True)
            self._thread.start()
        self._wake.set()

    def drop(self, source: ShardFile) -> None:
        """The copy is damaged: remove it, and make none of this shard again in this process."""
        with self._lock:
            self._spoilt.add(source.cached_name)
        (self.folder / source.cached_name).unlink(missing_ok=True)

    def close(self) -> None:
        """Copies stay for the next job."""
        self._end = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while not self._end and not self._off:
            self._wake.clear()
            wanted = self._all_wanted()
            self._say_in_use(wanted)
            if not any(self._copy(source, wanted) for source in wanted if self.copy_of(source) is None):
                self._removed()
                self._wake.wait(_PAUSE_S)

    def _all_wanted(self) -> list[ShardFile]:
        """The shards that all lanes want; those that are read now come first."""
        with self._lock:
            lanes = list(self._wanted.values())
            return [
                source
                for which in (0, 1)
                for lane in lanes
                for source in lane[which]
                if source.cached_name not in self._spoilt
            ]

    def _say_in_use(self, wanted: list[ShardFile]) -> None:
        for source in wanted:
            with suppress(OSError):
                os.utime(self.folder / source.cached_name)

    def _copy(self, source: ShardFile, wanted: list[ShardFile]) -> bool:
        """True when the shard was copied; False: no room, another rank copies it, or it cannot be read."""
        if self._end or self._off:
            return False
        target = self.folder / source.cached_name
        part = target.with_name(f"{_PART}{target.name}")
        try:
            original = open(source.path, "rb")  # noqa: SIM115 - closed below
        except OSError:
            return False  # whoever reads it will say so
        with original:
            try:
                if size_and_index_sha256(source.path) == (source.entry.bytes, source.entry.index_sha256):
                    with _claim(part, target) as handle:
                        return handle is not None and self._fill(handle, part, target, original, source, wanted)
            except BadShard:
                return False
            except OSError as error:
                if not (isinstance(error, FileNotFoundError) and self.folder.is_dir()):  # else another rank was quicker
                    self._give_up(error)
        return False

    def _fill(
        self, handle: int, part: Path, target: Path, original: BinaryIO, source: ShardFile, wanted: list[ShardFile]
    ) -> bool:
        size = source.entry.bytes
        try:
            if self._make_room(handle, size, wanted) and _copied(original, handle) == size:
                os.replace(part, target)
                self.copied_bytes += size
                return True
        finally:
            part.unlink(missing_ok=True)
        return False

    def _make_room(self, handle: int, size: int, wanted: list[ShardFile]) -> bool:
        """Remove copies that nobody wants, the longest unwanted first, and take the space. One rank at a time."""
        mine = {source.cached_name for source in wanted}
        with open(self.folder / ".lock", "a") as lock:  # never cut short: it may be somebody's
            fcntl.flock(lock, fcntl.LOCK_EX)
            files = _files(self.folder)
            used = sum(found.st_size for found in files.values())
            idle = [(found.st_mtime, name) for name, found in files.items() if name not in mine]
            for seen, name in sorted(idle):
                if used + size <= self.budget_bytes or time.time() - seen < _IN_USE_S:
                    break
                if name.startswith(_PART) and _is_held(self.folder / name):
                    continue
                used -= files[name].st_size
                (self.folder / name).unlink(missing_ok=True)
            if used + size > self.budget_bytes:
                return False
            os.posix_fallocate(handle, 0, size)
        return True

    def _give_up(self, error: OSError) -> None:
        if not self._off:
            self._off = True
            reason = os.strerror(error.errno or 0).lower()
            warnings.warn(
                f"{self.folder}: no more shards are copied here ({reason}); they are read directly", stacklevel=2
            )


@contextmanager
def _claim(part: Path, target: Path) -> Iterator[int | None]:
    """A handle on an empty file for the copy, held by this process alone; None: another has it, or has finished.

    The claim of a process that was killed is free again at once.
    """
    handle = os.open(part, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        if _inode(part) != os.fstat(handle).st_ino:  # it was finished in between
            yield None
        elif target.exists():
            part.unlink(missing_ok=True)
            yield None
        else:
            os.ftruncate(handle, 0)
            yield handle
    finally:
        os.close(handle)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _files(folder: Path) -> dict[str, os.stat_result]:
    """Our copies, whole or in the making, in a folder in which others give files their names meanwhile. No symbolic links."""
    found = {}
    for path in folder.iterdir():
        if not _COPY.fullmatch(path.name):
            continue
        try:
            told = path.lstat()
        except FileNotFoundError:
            continue
        if stat.S_ISREG(told.st_mode):
            found[path.name] = told
    return found


def _is_held(part: Path) -> bool:
    """Whether a living process is copying there."""
    with open(part, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _copied(original: BinaryIO, handle: int) -> int:
    """Bytes copied; fewer than there are when the original cannot be read."""
    done = 0
    while True:
        try:
            data = memoryview(original.read(_CHUNK))
        except OSError:
            return -1
        if not data:
            return done
        while data:
            written = os.write(handle, data)
            data, done = data[written:], done + written
