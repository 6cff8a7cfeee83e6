"""A shard's index: the last member of its tar, found from the tar's end, so that a shard is one file.

In: a sample's key and where its members lie. Out: numpy's .npy with one row a sample, then zeros, then a trailer that says where
the rows are; the tar's end mark follows. The name is one that WebDataset's readers pass over (`__…__`).
"""

import io
import os
import struct
from typing import NamedTuple

import google_crc32c
import numpy as np

NAME = "__index__"
END_MARK = bytes(1024)
_RECORD = 10240  # tar's unit of length
_MARK = b"mlsegidx"
_TRAILER = struct.Struct("<8sQQQQII")  # the mark, then Place
_CRC = struct.Struct("<I")  # of the trailer itself
_KEY_BYTES = 64


class BadShard(Exception):
    """A shard is not what its index says: damaged, truncated or replaced. Names the shard, and the sample if known."""


def index_type(members: int) -> np.dtype:
    """One row a sample. offset, size: bytes in the tar per member, in the order of their names; crc32c: of each."""
    numbers = (("offset", "<u8", (members,)), ("size", "<u4", (members,)), ("crc32c", "<u4", (members,)))
    return np.dtype([("key", f"S{_KEY_BYTES}"), *numbers])


def fits(key: str) -> bool:
    """Whether a sample may have this key."""
    return bool(key) and key.isascii() and len(key) <= _KEY_BYTES and not {".", "/", "\0"} & set(key) and key != NAME


class Place(NamedTuple):
    """Where an index lies in its tar. tar: bytes of all; start: of the .npy, first: of its first row, from the tar's beginning;
    crc32c: of the .npy."""

    tar: int
    start: int
    first: int
    rows: int
    members: int
    crc32c: int

    @property
    def row_bytes(self) -> int:
        return index_type(self.members).itemsize

    @classmethod
    def find(cls, file: int) -> "Place":
        """Of an open tar. Raises ValueError: in words, what there is instead."""
        size, length = os.fstat(file).st_size, _TRAILER.size + _CRC.size
        data = os.pread(file, length, max(0, size - len(END_MARK) - length))
        if len(data) < length or not data.startswith(_MARK):
            raise ValueError("no index at its end: it is cut off, or is no shard of this version")
        body, (crc,) = data[: _TRAILER.size], _CRC.unpack(data[_TRAILER.size :])
        place = cls(*_TRAILER.unpack(body)[1:])
        if google_crc32c.value(body) != crc:
            raise ValueError("a damaged index")
        if place.tar != size:
            raise ValueError(f"{size} bytes, not the {place.tar} that were written")
        return place

    def npy(self, file: int) -> bytes:
        """The whole index as .npy. Raises ValueError when it is damaged."""
        data = os.pread(file, self.first - self.start + self.rows * self.row_bytes, self.start)
        if google_crc32c.value(data) != self.crc32c:
            raise ValueError("a damaged index")
        return data

    def row(self, file: int, position: int) -> np.void:
        """One row. It has no checksum, what it leads to has. Raises ValueError when there is none, or one that leads nowhere."""
        data = os.pread(file, self.row_bytes, self.first + position * self.row_bytes)
        if not 0 <= position < self.rows or len(data) < self.row_bytes:
            raise ValueError(f"no row {position}")
        row = np.frombuffer(data, index_type(self.members))[0]
        if not row["key"] or not row["size"].all():  # no member is empty; zeros would pass for an empty one
            raise ValueError("a damaged index")
        return row


def pack(index: np.ndarray, start: int) -> bytes:
    """The member's bytes, for a member that begins at byte `start`: with the end mark after it the tar fills whole records."""
    buffer = io.BytesIO()
    np.save(buffer, index, allow_pickle=False)
    npy = buffer.getvalue()
    end = start + len(npy) + _TRAILER.size + _CRC.size
    end += -(end + len(END_MARK)) % _RECORD
    (members,) = index.dtype["offset"].shape
    place = Place(
        end + len(END_MARK), start, start + len(npy) - index.nbytes, len(index), members, google_crc32c.value(npy)
    )
    trailer = _TRAILER.pack(_MARK, *place)
    data = trailer + _CRC.pack(google_crc32c.value(trailer))
    return npy + bytes(end - start - len(npy) - len(data)) + data
