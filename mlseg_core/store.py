"""Where outputs go: a folder, or an fsspec URL such as s3://bucket/corpus. One small interface for both.

In: names relative to the store ("a-000.tar", "overview/a.jpg") and local temporary files. Out: files that appear whole
or not at all, the first one to publish a name wins. Trouble with the destination is a UserError that names it.
"""

import errno
import os
import secrets
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

from mlseg_core.errors import UserError
from mlseg_core.files import TEMPORARY, fsync_folder, in_folder, link_first, publish_first, replace_synced, write_atomic

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OURS = (*_FULL, errno.EROFS)  # no reading of a slide ends with these
_PROBE_BYTES = 1 << 16
_PAGE = 4096


class DestinationError(UserError):
    """The outputs cannot be written: full, read-only, gone."""


class Store(ABC):
    """where: for people, holds no credentials.  scratch: local folder for temporaries.  one_process: nobody else sees it.

    patience_s: between looks at, or writes of, small files that change often.
    moves: a temporary is gone once it is published.
    """

    where: str
    scratch: Path
    one_process = False
    patience_s = 1.0
    moves = False

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    @abstractmethod
    def close(self) -> None:
        """Remove what the store keeps on this machine. The published files stay."""

    @abstractmethod
    def sizes(self, folder: str = "", wanted: Container[str] | None = None) -> dict[str, int]:
        """Name within `folder` -> bytes of the files that lie directly in it, without temporaries; {} when there is none.

        wanted: only these, as each may cost a question.
        """

    def names(self, folder: str) -> list[str]:
        """What `sizes` lists, without asking for each file's size."""
        return list(self.sizes(folder))

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Bytes; None when there is no such file."""

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """For reading, seekable. Raises FileNotFoundError."""

    @abstractmethod
    def write(self, name: str, data: bytes | str, lasting: bool = True) -> None:
        """Readers see the old file or the new one. Replaces what is there. lasting: the new one survives a power cut."""

    def note(self, name: str, data: str) -> None:
        """A small text that is soon written anew: a reader may see a part of it, a power cut may take it."""
        self.write(name, data)

    @abstractmethod
    def publish_first(self, temporary: Path, name: str, file: BinaryIO | None = None) -> Path:
        """Give a file of `scratch` its name unless somebody did before. Returns a local path with the winner's bytes.

        file: `temporary`, open. Then its old name stays, it is closed if it did not win, and the name is sure to survive
        a power cut after `settle` only.
        """

    @abstractmethod
    def replace(self, temporary: Path, name: str, file: BinaryIO | None = None) -> None:
        """Give a file of `scratch` its name, whatever is there. file: it, open; closed here, and to be settled."""

    @abstractmethod
    def settle(self) -> None:
        """From now on the names that open files were given survive a power cut."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """No error when it is gone already."""

    @abstractmethod
    def remove_temporaries(self, folders: Iterable[str]) -> None:
        """Remove what killed processes left directly in these folders. Only when nobody works there any more."""

    @abstractmethod
    def probe(self) -> None:
        """Write and remove a file. Raises what the destination says."""

    @abstractmethod
    def probe_first_wins(self) -> None:
        """Write files as `probe` does and publish them by one name. Raises DestinationError unless the first wins."""

    def exists(self, name: str) -> bool:
        return self.size(name) is not None

    def read(self, name: str) -> bytes:
        """All bytes. Raises FileNotFoundError."""
        with self.open(name) as file:
            return file.read()

    def check(self) -> None:
        """Before any work: can it be written, and does the first to publish a name win? Raises DestinationError."""
        try:
            self.probe_first_wins()
        except DestinationError:
            raise
        except Exception as error:
            raise self._mistake(error) from error

    def blame(self, error: BaseException) -> None:
        """Raises DestinationError when `error`, met while working, is the destination's fault: full, read-only, gone."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, OSError) and cause.errno in _OURS:
                raise self._mistake(cause) from error
            cause = cause.__cause__ or cause.__context__
        try:
            self.probe()
        except Exception as trouble:
            raise self._mistake(trouble) from error

    def _mistake(self, error: Exception) -> DestinationError:
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number).lower() if number else f"{type(error).__name__}: {error}".split("\n")[0]
        mend = "Make it writable, or choose another destination."
        if number in _FULL:
            mend = "Free some space, or choose another destination. Start again: it continues."
        return DestinationError(f"cannot be written ({reason})", self.where, mend)


class Folder(Store):
    """A folder on a file system with hard links, shared or local. Temporaries lie beside their targets.

    A parallel file system answers every open, rename or stat of a path from one server for all workers, so what a worker
    writes often (notes) or syncs often (folders) stays open in a `with` block.
    """

    moves = True

    def __init__(self, path: Path) -> None:
        self.path = self.scratch = path
        self.where = str(path)
        self._open: dict[Path, int] | None = None  # folders and notes, by path, in a `with` block
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
        path, page = self.path / name, data.encode().ljust(_PAGE)
        if len(page) > _PAGE:
            raise ValueError(f"{name}: a note has at most {_PAGE} bytes")
        opened = self._open if self._open is not None else {}
        if path not in opened:
            opened[path] = in_folder(path, lambda: os.open(path, os.O_WRONLY | os.O_CREAT, 0o666))
        os.pwrite(opened[path], page, 0)
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

    def remove_temporaries(self, folders: Iterable[str]) -> None:
        for folder in folders:
            for left_over in (self.path / folder).glob(f"{TEMPORARY}*"):
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


def open_store(where: Path | str | Store, scratch: Path | None = None) -> Store:
    """A folder (Path, plain text or file:// URL), or an fsspec URL. scratch: for the temporaries of a URL. Raises UserError."""
    if isinstance(where, Store):
        return where
    if isinstance(where, Path) or "://" not in where:
        return Folder(Path(where))
    if where.startswith("file://"):
        return Folder(Path(unquote(urlsplit(where).path)))
    from mlseg_core.bucket import Bucket

    return Bucket(where, scratch)


def check_name(name: str) -> str:
    """A published name: relative, with subfolders if need be. Raises ValueError for one that leaves the store."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or part.startswith(TEMPORARY) or "\0" in part for part in parts):
        raise ValueError(f"{name!r} is no name for a published file")
    return name
