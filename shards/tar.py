"""Tar shards: written with bytes that depend on their samples only, indexed at their end, read at random with a checksum each time.

The format is WebDataset's (KEY.member, samples contiguous, USTAR). Headers are patched into one that tarfile made:
making each with tarfile more than doubles the time of writing, and importing webdataset imports torch.

The index is the last member, so that a shard is one file: numpy's .npy with one row a sample, then zeros, then a trailer that says
where the rows are; the tar's end mark follows. WebDataset's readers skip its name (`__…__`).
"""

import hashlib
import io
import os
import struct
import tarfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

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
        """The index of an open tar. Raises ValueError that says what there is instead."""
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


NO_SEED = 255
"""In place of a class: nothing is known at the seed."""
_BLOCK = tarfile.BLOCKSIZE


def _template() -> bytes:
    """A header with no name, no size and blanks for a checksum."""
    entry = tarfile.TarInfo("")
    entry.mode = 0o444
    entry.uname = entry.gname = "mlseg"
    header = entry.tobuf(tarfile.USTAR_FORMAT)
    return header[:148] + b" " * 8 + header[156:]


_TEMPLATE = _template()


def _header(name: bytes, size: int) -> bytes:
    """What tarfile would write for a member. Raises ValueError for a name over 100 bytes."""
    if len(name) > 100 or size >= 8**11:
        raise ValueError(f"not a member of a shard: {name!r} of {size} bytes")
    header = bytearray(_TEMPLATE)
    header[: len(name)] = name
    header[124:135] = b"%011o" % size
    header[148:155] = b"%06o\0" % sum(header)
    return bytes(header)


def write_shard(target: Path | BinaryIO, samples: Iterable[tuple[str, dict[str, bytes]]]) -> None:
    """Write (KEY, member -> bytes) samples, then their index. Fixed time, owner and order: the same samples, the same sha256.

    target: an open file is left open. Raises ValueError for keys that do not ascend or have no place in an index, for
    samples with other members than the first, and for empty members.
    """
    rows: list[tuple] = []
    names: list[str] = []
    before = ""
    with open(target, "wb") if isinstance(target, Path) else nullcontext(target) as file:
        for key, members in samples:
            names = names or sorted(members)
            if not fits(key) or key <= before:
                raise ValueError(f"not the key of the next sample of a shard: {key!r} after {before!r}")
            if sorted(members) != names:
                raise ValueError(f"{key} has members {', '.join(sorted(members))}, not {', '.join(names)}")
            if not all(members.values()):
                raise ValueError(f"a member of {key} is empty")
            rows.append(
                (key.encode(), *zip(*(_write(file, f"{key}.{name}", members[name]) for name in names), strict=True))
            )
            before = key
        write_end(file, np.array(rows, index_type(len(names))))


def _write(file: BinaryIO, name: str, data: bytes) -> tuple[int, int, int]:
    """One member: its offset, size and crc32c."""
    file.write(_header(name.encode(), len(data)))
    offset = file.tell()
    file.write(data)
    file.write(bytes(-len(data) % _BLOCK))
    return offset, len(data), google_crc32c.value(data)


def write_end(file: BinaryIO, index: np.ndarray) -> None:
    """What follows the samples of a shard: their index, the end mark."""
    data = pack(index, file.tell() + _BLOCK)
    file.write(_header(NAME.encode(), len(data)))
    file.write(data)
    file.write(END_MARK)


def size_and_index_sha256(path: Path) -> tuple[int, str]:
    """Bytes of a tar and sha256 of its index, which is checked. Raises BadShard."""
    try:
        with open(path, "rb") as file:
            place = Place.find(file.fileno())
            return place.tar, hashlib.sha256(place.npy(file.fileno())).hexdigest()
    except (OSError, ValueError) as error:
        raise _bad(path, error) from None


def wds2idx_text(index: np.ndarray, members: tuple[str, ...]) -> str:
    """The index in the text form of NVIDIA's wds2idx (v1.2), for DALI's readers.webdataset."""
    lines = [f"v1.2 {len(index)}"]
    for row in index:
        key = row["key"].decode()
        lines.append(" ".join(f"{m} {row['offset'][i]} {row['size'][i]} {key}.{m}" for i, m in enumerate(members)))
    return "\n".join(lines) + "\n"


class ShardReader:
    """Random access to one shard; every read is checked against its crc32c. Raises BadShard.

    members: of each of its samples, in the order of their names. opened: the tar, where it is open already; it stays open. The
    whole index is read when it is asked for; to read a sample takes its row alone.
    """

    def __init__(self, path: Path, members: tuple[str, ...], opened: BinaryIO | None = None) -> None:
        self.path, self.members, self._opened = path, members, opened
        try:
            self._file = os.open(path, os.O_RDONLY) if opened is None else opened.fileno()
        except OSError as error:
            raise _bad(path, error) from None
        try:
            self._place = Place.find(self._file)
            if self._place.members != len(members):
                raise ValueError(f"an index of {self._place.members} members, not of {len(members)}")
        except (OSError, ValueError) as error:
            self.close()
            raise _bad(path, error) from None

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._opened is None:
            os.close(self._file)

    def __len__(self) -> int:
        return self._place.rows

    @cached_property
    def index(self) -> np.ndarray:
        """(samples,) of index_type(members)."""
        return np.load(io.BytesIO(self._npy), allow_pickle=False)

    @cached_property
    def index_sha256(self) -> str:
        return hashlib.sha256(self._npy).hexdigest()

    @cached_property
    def _npy(self) -> bytes:
        try:
            return self._place.npy(self._file)
        except (OSError, ValueError) as error:
            raise _bad(self.path, error) from None

    def key(self, position: int) -> str:
        return self._row(position)["key"].decode()

    def read(self, position: int, wanted: Collection[str] | None = None) -> dict[str, bytes]:
        """Member name -> bytes of the sample at `position`. wanted: only those; None: all."""
        row = self._row(position)
        return {
            member: self._read(row, column)
            for column, member in enumerate(self.members)
            if wanted is None or member in wanted
        }

    def read_member(self, position: int, column: int) -> bytes:
        return self._read(self._row(position), column)

    def check(self, position: int, members: Mapping[str, bytes]) -> None:
        """Compare members of the sample at `position`, read in some other way, with their crc32c. Raises BadShard."""
        row = self._row(position)
        for column, member in enumerate(self.members):
            self._check(row, column, members[member])

    def _row(self, position: int) -> np.void:
        if "index" in self.__dict__:
            return self.index[position]
        try:
            return self._place.row(self._file, position)
        except (OSError, ValueError) as error:
            raise _bad(self.path, error) from None

    def _read(self, row: np.void, column: int) -> bytes:
        data = os.pread(self._file, int(row["size"][column]), int(row["offset"][column]))
        self._check(row, column, data)
        return data

    def _check(self, row: np.void, column: int, data: bytes) -> None:
        if google_crc32c.value(data) != row["crc32c"][column]:
            key = row["key"].decode("ascii", "replace")
            raise BadShard(f"{self.path}: {key}.{self.members[column]} is damaged (crc32c differs)")


def _bad(path: Path, error: Exception) -> BadShard:
    """OSError: what the system says; ValueError: what the tar has."""
    told = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else f"has {error}"
    return BadShard(f"{path}: {told}")
