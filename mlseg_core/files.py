"""Files that someone reads later: hashes, atomic writes, first-wins publishing. POSIX: temporary file, fsync, link or rename."""

import errno
import hashlib
import json
import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from mlseg_core.errors import UserError

TEMPORARY = ".tmp-"
"""Prefix of temporary files; readers skip them."""


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    return size_and_sha256(path)[1]


def size_and_sha256(path: Path) -> tuple[int, str]:
    """Bytes and hex sha256 of one file, opened once."""
    with open(path, "rb") as file:
        return size_and_sha256_of(file)


def size_and_sha256_of(file: BinaryIO) -> tuple[int, str]:
    """Bytes and hex sha256 of an open file, read from its start."""
    file.seek(0)
    digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # BinaryIO hides readinto
    return os.fstat(file.fileno()).st_size, digest


def fingerprint(value: Any) -> str:
    """Hex sha256 of a JSON-able value, independent of key order."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def open_regular_handle(path: Path) -> int:
    """os.open for reading. Raises OSError for what is no file, at once: to open a named pipe waits for whoever writes it."""
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        raise OSError(number, os.strerror(number) if stat.S_ISDIR(mode) else "not a regular file", str(path))
    return handle


def open_regular(path: Path) -> BinaryIO:
    """open(path, "rb") of a regular file; see open_regular_handle. Raises OSError."""
    return open(open_regular_handle(path), "rb")


def read_regular(path: Path) -> bytes:
    """All bytes of a regular file. Raises OSError, and UserError for what is no regular file."""
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.EINVAL):
            raise UserError("is not a regular file", path, "Check the path.") from None
        raise


def fsync_folder(folder: Path) -> None:
    """Make the folder's entries (new names, renames) survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


T = TypeVar("T")
SyncFolder = Callable[[Path], None]
"""fsync_folder, or one that keeps folders open."""


def temporary_beside(target: Path) -> Path:
    """A fresh name in the target's folder."""
    return target.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}-{target.name}"


def write_atomic(
    path: Path, data: bytes | str, sync: SyncFolder | None = fsync_folder, mode: int | None = None
) -> None:
    """Readers see the old file or the new one, never a part, after a power cut too. Replaces what is there.

    sync: None where a power cut may bring the old file back.  mode: of the file, from its first byte on; None: as the umask has it.
    """
    temporary = temporary_beside(path)
    content = data.encode() if isinstance(data, str) else memoryview(data)

    def private(name: str, flags: int) -> int:
        return os.open(name, flags, mode or 0)

    try:
        with in_folder(temporary, lambda: open(temporary, "wb", opener=None if mode is None else private)) as file:
            if mode is not None:
                os.fchmod(file.fileno(), mode)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if sync is not None:
        sync(path.parent)


def overwrite(path: Path, text: str) -> bool:
    """Write over a file that is there without asking the disk for room: for a short last word on a full disk.

    A reader may see a part of it. False when that is impossible too.
    """
    data = text.encode()
    try:
        handle = os.open(path, os.O_WRONLY)
    except OSError:
        return False
    try:
        if os.pwrite(handle, data, 0) != len(data):
            return False
        os.ftruncate(handle, len(data))
        return True
    except OSError:
        return False
    finally:
        os.close(handle)


def in_folder(path: Path, make: Callable[[], T]) -> T:
    """make(), which makes `path`; when its folder is not there, that first."""
    try:
        return make()
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        return make()


def own_files(folder: Path, form: str) -> list[Path]:
    """Files directly in a folder whose whole name has the form of our records there, a regular expression; sorted by name.

    People and systems leave other files beside ours (`._x.json`, `.DS_Store`, `x.json~`, `.nfs0001`, `x (copy).json`): none of them
    is read. [] where there is no folder.
    """
    exact = re.compile(form)
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if exact.fullmatch(entry.name) and entry.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in names]


def find_shipped(name: str, start: Path) -> Path:
    """`start / name`. Where that is no file and the name is `configs/…`, the nearest one in a folder above: a project's own."""
    if name.startswith("configs/") and not (start / name).is_file():
        for folder in start.absolute().parents:
            if (folder / name).is_file():
                return folder / name
    return start / name


def replace_synced(
    temporary: Path, target: Path, sync: SyncFolder = fsync_folder, file: BinaryIO | None = None
) -> None:
    """Sync `temporary` and give it its final name in the same folder, whatever is there. file: it, if it is open."""
    with open(temporary, "rb") if file is None else file as opened:
        opened.flush()
        os.fsync(opened.fileno())
    os.replace(temporary, target)
    sync(target.parent)


def write_json(path: Path, value: Any) -> None:
    """write_atomic of indented JSON."""
    write_atomic(path, json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Raises UserError when the file is missing or is not JSON."""
    try:
        return json.loads(read_regular(path).decode("utf-8"))
    except FileNotFoundError:
        raise UserError("no such file", path, "Check the path, or run the phase that writes it.") from None
    except (ValueError, RecursionError) as error:  # no text, no JSON, a number of 5,000 digits; nested too deeply
        raise UserError(f"not valid JSON ({error})", path, "Restore the file or make it again.") from None


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSONL file; [] when there is none. A line that was cut short, or is still being written, is left out."""
    if not path.exists():
        return []
    records = []
    for line in read_regular(path).split(
        b"\n"
    ):  # a text may hold what str.splitlines takes for the end of a line, as U+2028
        try:
            records.append(json.loads(line.decode("utf-8")))
        except (ValueError, RecursionError):
            continue
    return [record for record in records if isinstance(record, dict)]


def publish_first(temporary: Path, target: Path, sync: SyncFolder = fsync_folder) -> bool:
    """Give `temporary` its final name unless somebody did so before; removes `temporary` either way.

    Both must lie in one folder (hard links across folders are not portable). Returns True for the winner.
    The file is synced before it gets its name, so a published file is whole.
    """
    with open(temporary, "rb") as file:
        won = link_first(file, temporary, target)
    temporary.unlink(missing_ok=True)
    sync(target.parent)
    return won


def link_first(file: BinaryIO, temporary: Path, target: Path) -> bool:
    """publish_first of a file that is open, but for what comes after: `temporary` stays, and the folder is not synced."""
    file.flush()
    os.fsync(file.fileno())
    try:
        os.link(temporary, target)
        return True
    except FileExistsError:
        return os.fstat(file.fileno()).st_nlink == 2  # NFS may say EEXIST for a link that it did make
