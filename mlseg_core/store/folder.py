"""A store that is a folder: hard links for the first to win, renames, fsync, few operations on paths."""

import os
import secrets
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from mlseg_core.files import TEMPORARY, fsync_folder, in_folder, link_first, publish_first, replace_synced, write_atomic
from mlseg_core.own import leads_out, temporaries
from mlseg_core.store.base import DestinationError, Store

_PROBE_BYTES = 1 << 16
_PAGE = 4096


class Folder(Store):
    """A folder on a file system with hard links, shared or local. Temporaries lie beside their targets.

    A parallel file system answers every open, rename or stat of a path from one server for all workers, so what a worker
    writes or reads often (notes, pages) or syncs often (folders) stays open in a `with` block.
    """

    moves = True

    def __init__(self, path: Path) -> None:
        self.path = self.scratch = path
        self.where = str(path)
        self._open: dict[Path, int] | None = None  # folders, notes and pages, by path, in a `with` block
        self._unsettled: set[Path] = set()

    def __enter__(self) -> "Store":
        self._open = {}
        return self

    def close(self) -> None:
        for handle in (self._open or {}).values():
            os.close(handle)
        self._open = None

    def settle(self) -> None:
        while self._unsettled:
            self._sync(self._unsettled.pop())

    def _sync(self, folder: Path) -> None:
        if self._open is None:
            fsync_folder(folder)
            return
        if folder not in self._open:
            self._open[folder] = os.open(folder, os.O_RDONLY)
        os.fsync(self._open[folder])

    def sizes(self, folder: str = "", wanted: Container[str] | None = None) -> dict[str, int]:
        try:
            with os.scandir(self.path / folder) as entries:
                files = [entry for entry in entries if not entry.name.startswith(TEMPORARY) and entry.is_file()]
                return {entry.name: entry.stat().st_size for entry in files if wanted is None or entry.name in wanted}
        except FileNotFoundError:
            return {}

    def names(self, folder: str) -> list[str]:
        try:
            with os.scandir(self.path / folder) as entries:
                return [entry.name for entry in entries if not entry.name.startswith(TEMPORARY)]
        except FileNotFoundError:
            return []

    def size(self, name: str) -> int | None:
        try:
            return (self.path / name).stat().st_size
        except FileNotFoundError:
            return None

    def open(self, name: str) -> BinaryIO:
        return open(self.path / name, "rb")

    def write(self, name: str, data: bytes | str, lasting: bool = True) -> None:
        write_atomic(self.path / name, data, self._sync if lasting else None)

    def note(self, name: str, data: str) -> None:
        """One write of one page, whatever the file was: no rename, and no sync. Raises ValueError for a longer text."""
        page = data.encode().ljust(_PAGE)
        if len(page) > _PAGE:
            raise ValueError(f"{name}: a note has at most {_PAGE} bytes")
        with self._kept(name) as handle:
            os.pwrite(handle, page, 0)

    def mark(self, page: str, place: int) -> None:
        with self._kept(page) as handle:
            os.pwrite(handle, b"1", place)

    def marks(self, page: str, first: int, count: int) -> bytes:
        with self._kept(page) as handle:
            return os.pread(handle, count, first).ljust(count, b"\0")

    @contextmanager
    def _kept(self, name: str) -> Iterator[int]:
        """A file to write to in place; made when it is not there."""
        path, opened = self.path / name, self._open if self._open is not None else {}
        if path not in opened:
            opened[path] = in_folder(path, lambda: os.open(path, os.O_RDWR | os.O_CREAT, 0o666))
        try:
            yield opened[path]
        finally:
            if self._open is None:
                os.close(opened[path])

    def publish_first(self, temporary: Path, name: str, file: BinaryIO | None = None) -> Path:
        target = self.path / name
        if file is None:
            publish_first(temporary, target, self._sync)
            return target
        if not link_first(file, temporary, target):
            file.close()
        self._unsettled.add(target.parent)
        return target

    def replace(self, temporary: Path, name: str, file: BinaryIO | None = None) -> None:
        target = self.path / name
        replace_synced(temporary, target, self._sync if file is None else self._unsettled.add, file)

    def remove(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    def move(self, name: str, to: str) -> None:
        os.rename(self.path / name, self.path / to)
        self._sync((self.path / name).parent)

    def remove_temporaries(self, folders: Iterable[str]) -> None:
        for folder in folders:
            if leads_out(self.path / folder, self.path):
                continue  # a link to somewhere else: nothing is deleted there
            for left_over in temporaries(self.path / folder):
                left_over.unlink(missing_ok=True)

    def probe(self) -> None:
        path = self._probe_path()
        try:
            with open(path, "wb") as file:
                _write_through(file)
        finally:
            path.unlink(missing_ok=True)

    def probe_first_wins(self) -> None:
        first, target = self._probe_path(), self._probe_path()
        try:
            with in_folder(first, lambda: open(first, "wb")) as file:
                _write_through(file)
            self._link_twice(first, target)
        finally:
            for path in (target, first):
                path.unlink(missing_ok=True)

    def _link_twice(self, first: Path, target: Path) -> None:
        try:
            os.link(first, target)
            os.link(first, target)
        except FileExistsError:
            return
        except OSError as error:
            raise DestinationError(
                f"the file system cannot give a file a second name ({os.strerror(error.errno or 0).lower()})",
                self.where,
                "Write to a file system with hard links.",
            ) from error
        raise DestinationError("the file system lets two files take one name", self.where, "Write to another one.")

    def _probe_path(self) -> Path:
        return self.path / f"{TEMPORARY}probe-{secrets.token_hex(6)}"


def _write_through(file: BinaryIO) -> None:
    file.write(bytes(_PROBE_BYTES))
    file.flush()
    os.fsync(file.fileno())
