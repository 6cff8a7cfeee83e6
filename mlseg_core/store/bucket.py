"""A store behind an fsspec URL (s3://bucket/corpus, memory://x): uploads that are whole or absent, the first one wins.

In: names and local temporary files. Out: objects. Credentials come from the environment and are never shown.
"""

import inspect
import re
import secrets
import tempfile
import time
from collections.abc import Container, Iterable
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from fsspec.asyn import AsyncFileSystem
from fsspec.core import url_to_fs
from fsspec.spec import AbstractFileSystem

from mlseg_core.files import TEMPORARY
from mlseg_core.store.base import DestinationError, Store

_TRIES = 3


class Bucket(Store):
    """An fsspec URL. Temporaries lie on this machine and are uploaded with a conditional put (If-None-Match on S3)."""

    patience_s = 10.0

    def __init__(self, url: str, scratch: Path | None = None) -> None:
        self.where = re.sub(r"//[^/@]*@", "//", url).partition("?")[0]
        scheme = url.partition(":")[0]
        try:
            # A cached listing would hide what other workers have published.
            self._fs, root = url_to_fs(url, use_listings_cache=False)
        except Exception as error:  # each file system raises its own
            fix = "Give a folder, or an address such as s3://bucket/corpus."
            if isinstance(error, ImportError):
                fix = f"{error}."
            raise DestinationError(f"{scheme}:// cannot be used here", self.where, fix) from None
        self._root = root.rstrip("/")
        self.one_process = scheme == "memory"
        self._given = scratch
        self._own: tempfile.TemporaryDirectory[str] | None = None

    @property
    def scratch(self) -> Path:  # type: ignore[override]
        if self._given is not None:
            return self._given
        if self._own is None:
            self._own = tempfile.TemporaryDirectory(prefix="mlseg-")
        return Path(self._own.name)

    def close(self) -> None:
        if self._own is not None:
            self._own.cleanup()
        self._own = None

    def sizes(self, folder: str = "", wanted: Container[str] | None = None) -> dict[str, int]:
        try:
            entries = self._fs.ls(self._path(folder), detail=True)
        except FileNotFoundError:
            return {}
        files = [entry for entry in entries if entry["type"] == "file" and self._lies_in(entry["name"], folder)]
        found = {PurePosixPath(entry["name"]).name: int(entry["size"]) for entry in files}
        return found if wanted is None else {name: size for name, size in found.items() if name in wanted}

    def size(self, name: str) -> int | None:
        try:
            return int(self._fs.info(self._path(name))["size"])
        except FileNotFoundError:
            return None

    def open(self, name: str) -> BinaryIO:
        return self._fs.open(self._path(name), "rb")

    def read(self, name: str) -> bytes:
        """One request, which a writer of the same name cannot come between."""
        return self._fs.cat_file(self._path(name))

    def write(self, name: str, data: bytes | str, lasting: bool = True) -> None:
        self._fs.pipe_file(self._path(name), data.encode() if isinstance(data, str) else data)

    def publish_first(self, temporary: Path, name: str, file: BinaryIO | None = None) -> Path:
        if file is not None:
            file.flush()
        if not self._create(temporary, self._path(name)):
            if file is not None:
                file.close()
            self._fs.get_file(self._path(name), str(temporary))
        return temporary

    def replace(self, temporary: Path, name: str, file: BinaryIO | None = None) -> None:
        if file is not None:
            file.close()
        self._fs.put_file(str(temporary), self._path(name))

    def settle(self) -> None:
        """A put lasts."""

    def remove(self, name: str) -> None:
        """This very key: never a prefix."""
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            pass

    def move(self, name: str, to: str) -> None:
        self._fs.cp_file(self._path(name), self._path(to))
        self.remove(name)

    def remove_temporaries(self, folders: Iterable[str]) -> None:
        """There are none: a put is whole or absent, and the scratch folder goes with the process that made it."""

    def probe(self) -> None:
        name = f"{TEMPORARY}probe-{secrets.token_hex(6)}"
        self.write(name, b"probe")
        self.remove(name)

    def probe_first_wins(self) -> None:
        name = f"{TEMPORARY}probe-{secrets.token_hex(6)}"
        temporary = self.scratch / name
        won = []
        try:
            for word in ("first", "second") if self._conditional_put() else ():
                temporary.write_text(word)
                won.append(self._create(temporary, self._path(name)))
        finally:
            temporary.unlink(missing_ok=True)
            self.remove(name)
        if won != [True, False]:
            fix = "Use one with conditional puts, such as S3, or a folder."
            raise DestinationError("the store does not refuse a second put of one name", self.where, fix)

    def _create(self, temporary: Path, path: str) -> bool:
        """Upload unless the name is taken. False: it was."""
        for attempt in range(_TRIES):
            try:
                if self._conditional_put() == "put_file":
                    self._fs.put_file(str(temporary), path, mode="create")
                else:
                    self._fs.pipe_file(path, temporary.read_bytes(), mode="create")
                return True
            except FileExistsError:
                return False
            except OSError:  # S3 answers 409 to puts of one name at the same moment, perhaps to all of them
                if attempt == _TRIES - 1:
                    raise
                time.sleep(2**attempt)
        raise AssertionError("unreachable")

    def _conditional_put(self) -> str | None:
        """The method with a conditional put of its own; fsspec's general ones look first and write then, which proves nothing."""
        kind: Any = type(self._fs)
        for method in ("put_file", "pipe_file"):
            name = f"_{method}" if issubclass(kind, AsyncFileSystem) else method
            own = getattr(kind, name)
            general = getattr(AbstractFileSystem, name, None), getattr(AsyncFileSystem, name, None)
            if own not in general and "mode" in inspect.signature(own).parameters:
                return method
        return None

    def _lies_in(self, key: str, folder: str) -> bool:
        """False for an object that has the very name of the folder: a listing of that name shows it alone."""
        return key.strip("/") != self._path(folder).strip("/")

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}" if name else self._root
