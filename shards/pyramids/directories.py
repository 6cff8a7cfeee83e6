"""The directories of a TIFF, walked before any library opens it: a circle of them would be read for ever.

In: a path. Out: a UserError for a circle, for more directories than any slide has, and for sizes that no scanner makes.
Damage of any other kind is left to the readers, which say it in their own words.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mlseg_core.errors import UserError
from shards.pyramids.pyramid import is_tiff

_WIDTH, _LENGTH, _ORIENTATION, _SUB_IFDS, _NDPI = 256, 257, 274, 330, 65420
_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}  # type of a tag -> bytes of a value: whole numbers and offsets only
_FORMATS = {1: "B", 2: "H", 4: "I", 8: "Q"}
_MOST_DIRECTORIES = 100_000
_MOST_TAGS = 4096  # in a directory; tifffile reads no more either
_MOST_PX = 4_000_000  # a side
_MOST_AREA = 10**12
_RESTORE = "Restore the file or drop its row."


@dataclass(frozen=True)
class Directory:
    """One picture. size: (width, height) px, 0 where the tags do not say. orientation: the tag, 1 where there is none."""

    size: tuple[int, int]
    orientation: int


def check_directories(path: Path) -> None:
    """Walk all directories and SubIFDs, in whatever order they lie. Raises UserError, OSError."""
    if is_tiff(path):
        with open(path, "rb") as file:
            _Walk(file, path).all()


def first_directory(path: Path) -> Directory | None:
    """The first picture of a TIFF; None where it cannot be read, or the file is no TIFF. Raises OSError."""
    if not is_tiff(path):
        return None
    with open(path, "rb") as file:
        found = _Walk(file, path).first()
    return found[0] if found else None


def check_size(size: tuple[int, int], path: Path) -> None:
    """size: (width, height) px. Raises UserError for one that is no slide's: to look at it would take days."""
    if max(size) > _MOST_PX or size[0] * size[1] > _MOST_AREA:
        what = f"it says that it has {size[0]} × {size[1]} px, which no scanner makes"
        raise UserError(what, path, _RESTORE)


_Found = tuple[Directory, int, tuple[int, ...]]
"""A directory, the offset of the next one, and the offsets of its SubIFDs."""


class _Walk:
    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._end = file.seek(0, 2)
        head = self._at(0, 16)
        self._order = "<" if head[:2] == b"II" else ">"
        self._is_big = head[2:4] in (b"+\0", b"\0+")
        self._has_high_words = False
        self._start = self._number(head[8:16] if self._is_big else head[4:8])
        if not self._is_big and path.suffix.lower() == ".ndpi":  # classic, but with offsets of 64 bits
            at = self._number(head[4:12])
            found = self._directory(at)
            if found is not None and self._has_high_words:
                self._start = at

    def first(self) -> _Found | None:
        return self._directory(self._start)

    def all(self) -> None:
        """Depth first; `open_now` are the directories on the way from the first one to where the walk is."""
        done: set[int] = set()
        open_now: set[int] = set()
        way: list[tuple[int, Iterator[int]]] = []

        def enter(at: int) -> None:
            if not at or at in done:
                return
            if at in open_now:
                what = f"the TIFF's directories form a circle (the one at byte {at} follows itself)"
                raise UserError(what, self._path, _RESTORE)
            found = self._directory(at)
            if found is None:
                return
            if len(done) + len(open_now) >= _MOST_DIRECTORIES:
                what = f"the TIFF has more than {_MOST_DIRECTORIES} directories, which no slide has"
                raise UserError(what, self._path, _RESTORE)
            picture, following, below = found
            check_size(picture.size, self._path)
            open_now.add(at)
            way.append((at, iter((*below, following))))

        enter(self._start)
        while way:
            at, left = way[-1]
            step = next(left, None)
            if step is None:
                way.pop()
                open_now.remove(at)
                done.add(at)
            else:
                enter(step)

    def _directory(self, at: int) -> _Found | None:
        """None for what is no directory, or ends beyond the file."""
        counting, tag_bytes, offset_bytes = (8, 20, 8) if self._is_big else (2, 12, 4)
        count = self._number(self._at(at, counting))
        if not 0 < count <= _MOST_TAGS:
            return None
        data = self._at(at + counting, count * tag_bytes + offset_bytes)
        if len(data) < count * tag_bytes:
            return None
        tags = {}
        for start in range(0, count * tag_bytes, tag_bytes):
            entry = data[start : start + tag_bytes]
            tags[self._number(entry[:2])] = entry
        self._has_high_words = not self._is_big and _NDPI in tags
        following = self._number(data[count * tag_bytes :])
        if self._has_high_words and self._path.suffix.lower() == ".ndpi":
            following = self._number(self._at(at + counting + count * tag_bytes, 8))
        width, length, orientation = (self._values(tags.get(tag), 1) for tag in (_WIDTH, _LENGTH, _ORIENTATION))
        size = (width[0] if width else 0, length[0] if length else 0)
        below = self._values(tags.get(_SUB_IFDS), _MOST_DIRECTORIES)
        return Directory(size, orientation[0] if orientation else 1), following, below

    def _values(self, entry: bytes | None, most: int) -> tuple[int, ...]:
        """The values of a tag of whole numbers; at most `most` of them."""
        if entry is None:
            return ()
        kind = self._number(entry[2:4])
        count, place = (
            (self._number(entry[4:12]), entry[12:]) if self._is_big else (self._number(entry[4:8]), entry[8:])
        )
        size = _SIZES.get(kind, 0)
        if not size:
            return ()
        data = (
            place[: count * size]
            if count * size <= len(place)
            else self._at(self._number(place), min(count, most) * size)
        )
        whole = min(len(data) // size, most)
        return struct.unpack(f"{self._order}{whole}{_FORMATS[size]}", data[: whole * size])

    def _at(self, offset: int, length: int) -> bytes:
        if offset < 0 or offset >= self._end:
            return b""
        self._file.seek(offset)
        return self._file.read(length)

    def _number(self, data: bytes) -> int:
        """An unsigned number of as many bytes; 0 of none."""
        return int.from_bytes(data, "little" if self._order == "<" else "big")
