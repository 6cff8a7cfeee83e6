"""Who a slide file is: its state on disk, a hash of many small windows, and on request a hash of every byte.

Planning must not read a terabyte, so a slide that has the size and modification time of an earlier planning keeps the
identity found then, and any other is read in windows. Three forms tell themselves apart by their prefix:

    w2:…       sizes, heads, tails and a window in every MiB (in files over 512 MiB: 512 windows)
    sha256:…   every byte; where windows alone would call a changed file unchanged
    (none)     sizes, heads, tails and 15 windows: corpora that recipe 5 cut carry it, and it is still compared

What a planning learnt is remembered in `slide-identities.json` beside the manifest (slug -> Known), so that an unchanged slide
is not read again. Whoever plans or verifies writes it in one piece; workers only read it. The file is a memory, not a proof:
without it every slide is read once more.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

from mlseg_core.store import Store
from shards.regular_files import require_regular

_HEAD = 1 << 16
_WINDOW = 4096
_EVERY = 1 << 20
_MOST_WINDOWS = 512
_BLOCK = 1 << 20
_WINDOWS, _FULL, _UNREADABLE = "w2:", "sha256:", "unreadable: "
_FIRST_HEAD, _FIRST_WINDOWS, _FIRST_WINDOW = 1 << 20, 16, 1 << 16


@dataclass(frozen=True)
class FileState:
    """What the file system says of a slide: its number of files, their bytes, and the latest modification time, ns."""

    files: int
    bytes: int
    mtime_ns: int


@dataclass(frozen=True)
class Known:
    """A slide as an earlier planning met it.

    windows: its identity by windows, which is its identity as well unless a full hash contradicted it.
    sha256: of every byte, "" when nobody asked for it.
    """

    state: FileState
    identity: str
    sha256: str = ""
    windows: str = ""

    def as_json(self) -> dict[str, object]:
        return {**asdict(self.state), "identity": self.identity, "sha256": self.sha256, "windows": self.windows}

    @property
    def content(self) -> str:
        """A hash that two slides share when their bytes are the same, and hardly otherwise; "" when nobody could read it."""
        return "" if self.identity.startswith(_UNREADABLE) else f"{self.state.bytes} {self.windows or self.identity}"

    @classmethod
    def from_json(cls, raw: dict) -> "Known":
        """Raises KeyError, TypeError, ValueError for anything else than as_json gives."""
        state = FileState(int(raw["files"]), int(raw["bytes"]), int(raw["mtime_ns"]))
        return cls(state, str(raw["identity"]), str(raw["sha256"]), str(raw["windows"]))


def slide_files(path: Path) -> list[Path]:
    """All files of a slide: a DICOM slide is a folder, an MRXS slide has a folder of its own beside it.

    Raises OSError for one that is no regular file, which nobody may open.
    """
    files = _slide_files(path)
    for file in files:
        require_regular(file)
    return files


def _slide_files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(path.glob("*.dcm"))
    if path.suffix.lower() == ".dcm":
        return sorted(path.parent.glob("*.dcm"))
    beside = path.with_suffix("") if path.suffix.lower() == ".mrxs" else None
    more = sorted(file for file in beside.rglob("*") if not file.is_dir()) if beside and beside.is_dir() else []
    return [path, *more]


def file_state(path: Path) -> FileState:
    """The slide's state on disk. Raises OSError."""
    stats = [file.stat() for file in slide_files(path)]
    return FileState(len(stats), sum(s.st_size for s in stats), max((s.st_mtime_ns for s in stats), default=0))


def slide_identity(path: Path, like: str = _WINDOWS) -> str:
    """The slide's identity as it is now, in the form of `like`, another identity. Raises OSError.

    Names of files are no part of it: the same bytes under another name are the same slide.
    """
    if like.startswith((_WINDOWS, _UNREADABLE)):
        return _by_windows(path, file_state(path))
    return _FULL + slide_sha256(path) if like.startswith(_FULL) else _first_form(path)


def is_full(identity: str) -> bool:
    return identity.startswith(_FULL)


def is_first_form(identity: str) -> bool:
    return not identity.startswith((_WINDOWS, _FULL, _UNREADABLE))


def recognise(path: Path, known: Known | None) -> Known:
    """The slide as it is now. known: as an earlier planning met it. Raises OSError.

    Where size and modification time are as they were, nothing is read. Where only the modification time changed, the
    windows agree and a full hash is known, every byte is read: windows alone could miss a small change.
    """
    state = file_state(path)
    if known is not None and known.state == state:
        return known
    found = _by_windows(path, state)
    if known is None or known.state.bytes != state.bytes or not known.sha256:
        return Known(state, found, windows=found)
    if (known.windows or known.identity) != found:
        return Known(state, found, windows=found)
    return hashed(path, known)


def hashed(path: Path, known: Known) -> Known:
    """The slide with a hash of every byte. known: as it was met before, with the same windows. Raises OSError.

    Where the full hash is another one than before, it becomes the identity, as the windows missed the change.
    """
    state, sha256 = file_state(path), slide_sha256(path)
    changed = bool(known.sha256) and known.sha256 != sha256
    return Known(state, _FULL + sha256 if changed else known.identity, sha256, slide_identity(path))


def unreadable(why: str) -> Known:
    """A slide that the file system does not give out."""
    return Known(FileState(0, 0, 0), _UNREADABLE + why)


def slide_sha256(path: Path) -> str:
    """Hex sha256 of every byte of the slide's files, one after the other; of a single file it is sha256sum's."""
    digest = hashlib.sha256()
    for file in slide_files(path):
        with open(file, "rb") as data:
            while block := data.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()


@lru_cache(maxsize=4096)
def _by_windows(path: Path, state: FileState) -> str:
    """state: makes a file that changed since it was read be read again."""
    return _WINDOWS + _hash(path, _places, lambda file: "")


def _places(size: int) -> Iterator[tuple[int, int]]:
    yield 0, _HEAD
    count = min(_MOST_WINDOWS, size // _EVERY)
    for number in range(1, count):
        yield size * number // count, _WINDOW
    yield max(0, size - _HEAD), _HEAD


def _first_form(path: Path) -> str:
    def places(size: int) -> Iterator[tuple[int, int]]:
        yield 0, _FIRST_HEAD
        for number in range(1, _FIRST_WINDOWS):
            yield size * number // _FIRST_WINDOWS, _FIRST_WINDOW
        yield max(0, size - _FIRST_HEAD), _FIRST_HEAD

    return _hash(path, places, lambda file: file.name if file != path else "")


def _hash(path: Path, places: Callable[[int], Iterator[tuple[int, int]]], name: Callable[[Path], str]) -> str:
    digest = hashlib.sha256()
    for file in slide_files(path):
        with open(file, "rb", buffering=0) as data:
            size = os.fstat(data.fileno()).st_size
            digest.update(f"{name(file)} {size} ".encode())
            os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_RANDOM)  # no read-ahead: windows stay small
            for offset, length in places(size):
                digest.update(_read(data.fileno(), offset, length))
    return digest.hexdigest()


def _read(file: int, offset: int, length: int) -> bytes:
    parts = []
    while length and (part := os.pread(file, length, offset)):
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return b"".join(parts)


KNOWN_SLIDES = "slide-identities.json"


def read_known(store: Store) -> dict[str, Known]:
    """{} where there is none, or one that is damaged."""
    try:
        raw = json.loads(store.read(KNOWN_SLIDES))
        return {slug: Known.from_json(entry) for slug, entry in raw["slides"].items()}
    except (FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def is_known_slides(data: bytes) -> bool:
    """Whether a file of this name is one of ours."""
    try:
        raw = json.loads(data)
    except ValueError:
        return False
    return isinstance(raw, dict) and raw.keys() == {"version", "slides"} and isinstance(raw["slides"], dict)


def write_known(store: Store, known: Mapping[str, Known]) -> None:
    """Replaces what was there, unless it says the same."""
    if known != read_known(store):
        slides = {slug: known[slug].as_json() for slug in sorted(known)}
        store.write(KNOWN_SLIDES, json.dumps({"version": 1, "slides": slides}, indent=1) + "\n")
