"""A tar read front to back, trusting nothing. In: an open file. Out: its members one by one, and what is wrong with it.

tarfile ends silently at a header it cannot read; here that is damage, and the search goes on at the next block.
"""

import hashlib
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

BLOCK = 512
_ZEROS = bytes(BLOCK)
_MOST_BYTES = 1 << 26
"""No member of a shard is larger; a header that says so is damaged, and is not believed with memory."""


@dataclass(frozen=True)
class Member:
    """A file in the tar. offset: of its data, bytes."""

    name: str
    offset: int
    data: bytes


class HashedFile:
    """Sequential reads that also hash: one pass gives members, size and sha256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self.position = file, hashlib.sha256(), 0

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._digest.update(data)
        self.position += len(data)
        return data

    def sha256(self) -> str:
        """Hash of all that has been read."""
        return self._digest.hexdigest()


def scan(file: HashedFile, damage: Callable[[str], None]) -> Iterator[Member]:
    """The regular files of a USTAR tar in order, to the last byte. Calls damage(what) for everything that is wrong."""
    lost, zeros = False, 0
    while block := file.read(BLOCK):
        if block == _ZEROS:
            zeros += 1
            continue
        if zeros and not lost:
            damage(f"more follows the tar's end mark at byte {file.position - len(block)}")
        zeros = 0
        header = _header(block)
        if header is None:
            if not lost:
                damage(f"no tar header at byte {file.position - len(block)}")
            lost = True
            continue
        lost = False
        member = Member(header.name, file.position, file.read(header.size))
        padding = file.read(-header.size % BLOCK)
        if len(member.data) + len(padding) < header.size + -header.size % BLOCK:
            damage(f"the tar is cut off inside {header.name!r}")
            return
        if padding.strip(b"\0"):
            damage(f"bytes between the members, after {header.name!r}")
        if header.isreg():
            yield member
        else:
            damage(f"{header.name!r} is no regular file")
    if zeros < 2:
        damage("the tar is cut off: its end mark is missing")


def _header(block: bytes) -> tarfile.TarInfo | None:
    """None unless the block is a whole header with a true checksum."""
    try:
        header = tarfile.TarInfo.frombuf(block, "utf-8", "strict")
    except (tarfile.HeaderError, UnicodeDecodeError):
        return None
    return header if 0 <= header.size <= _MOST_BYTES else None
