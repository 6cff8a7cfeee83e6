"""What every place of outputs can do. One small interface for a folder and for an fsspec URL such as s3://bucket/corpus.

In: names relative to the store ("a-000.tar", "overview/a.jpg") and local temporary files. Out: files that appear whole
or not at all, the first one to publish a name wins. Trouble with the destination is a UserError that names it.
"""

import errno
import os
from abc import ABC, abstractmethod
from collections.abc import Container, Iterable
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from mlseg_core.errors import UserError
from mlseg_core.files import TEMPORARY

_FULL = (errno.ENOSPC, errno.EDQUOT)
_OURS = (*_FULL, errno.EROFS)  # no reading of a slide ends with these


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

    def mark(self, page: str, place: int) -> None:  # noqa: B027 - a store may keep no pages
        """Set a byte of a page that all workers share. A hint: it may come late, or be lost, but is never set for nothing."""

    def marks(self, page: str, first: int, count: int) -> bytes | None:
        """Bytes of a page, not 0 where somebody has set them. None: this store keeps no pages."""
        return None

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
    def move(self, name: str, to: str) -> None:
        """Give a file another name, which nobody has. Raises FileNotFoundError."""

    @abstractmethod
    def remove_temporaries(self, folders: Iterable[str]) -> None:
        """Remove what killed processes left directly in these folders. Only when nobody works there any more.

        Only regular files whose names have the exact form of our temporaries: a user's `.tmp-notes` stays.
        """

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
        fix = "Make it writable, or choose another destination."
        if number in _FULL:
            fix = "Free some space, or choose another destination. Start again: it continues."
        return DestinationError(f"cannot be written ({reason})", self.where, fix)


def check_name(name: str) -> str:
    """A published name: relative, with subfolders if need be. Raises ValueError for one that leaves the store."""
    parts = name.split("/")
    if any(part in ("", ".", "..") or part.startswith(TEMPORARY) or "\0" in part for part in parts):
        raise ValueError(f"{name!r} is no name for a published file")
    return name
