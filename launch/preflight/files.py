"""write: every operation that the campaign relies on, tried on every path that it writes to."""

import os
import secrets
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from launch.preflight.finding import Finding
from launch.preflight.site import Site, existing
from mlseg_core.files import TEMPORARY, fsync_folder

_BYTES = 1 << 16
_NAMES = ("first", "second", "target")


def write(site: Site) -> Iterator[Finding]:
    """The run folder's parent, the locks' folder, the cache."""
    yield probe("write: run folder", site.run.path)
    yield probe("write: temporary", Path(tempfile.gettempdir()), links=False)
    cache = site.config.train.cache_dir
    if cache is not None and existing(cache) == Path(cache.absolute().anchor):
        yield Finding("write: cache", "skipped", f"{cache} is not on this machine; --node-job looks on the node")
    elif cache is not None:
        yield probe("write: cache", cache, links=False)


def probe(name: str, path: Path, links: bool = True) -> Finding:
    """Try all operations in the nearest folder that exists, and leave nothing. links: first-wins publishing must work there."""
    parent = existing(path)
    folder = parent / f"{TEMPORARY}preflight-{secrets.token_hex(6)}"
    for operation, work in _operations(folder, links):
        try:
            work()
        except OSError as error:
            _remove(folder)
            fix = "Choose another folder (key `runs`), or ask the site for write permission."
            if operation.startswith("link"):
                fix = "Put `runs` on a file system with hard links: publishing needs them."
            return Finding(name, "bad", f"{parent}: {operation} failed: {os.strerror(error.errno or 0).lower()}", fix)
    _remove(folder)
    tried = "create, sync, rename, append" + (", link (first wins)" if links else "")
    return Finding(name, "ok", f"{parent}: {tried}")


def _operations(folder: Path, links: bool) -> list[tuple[str, Callable[[], object]]]:
    first, second, target = (folder / name for name in _NAMES)
    steps: list[tuple[str, Callable[[], object]]] = [
        ("create a folder", folder.mkdir),
        ("create and sync a file", lambda: _create(first)),
        ("rename", lambda: first.rename(second)),
        ("append", lambda: _append(second)),
        ("sync a folder", lambda: fsync_folder(folder)),
    ]
    if links:
        steps += [
            ("link", lambda: os.link(second, target)),
            ("link, the second time,", lambda: _refused(second, target)),
        ]
    return steps


def _create(path: Path) -> None:
    with open(path, "wb") as file:
        file.write(bytes(_BYTES))
        file.flush()
        os.fsync(file.fileno())


def _append(path: Path) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(handle, b"line\n")
    finally:
        os.close(handle)


def _refused(source: Path, target: Path) -> None:
    """Raises OSError if a name can be given twice."""
    try:
        os.link(source, target)
    except FileExistsError:
        return
    raise OSError(17, "a name that is taken was given again")


def _remove(folder: Path) -> None:
    for name in _NAMES:
        (folder / name).unlink(missing_ok=True)
    if folder.exists():
        folder.rmdir()
