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
import weakref
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

import google_crc32c
import numpy as np

from mlseg_core.files import open_regular, open_regular_handle

NAME = "__index__"
END_MARK = bytes(1024)
_RECORD = 10240  # tar's unit of length
_MARK = b"mlsegidx"
_TRAILER = struct.Struct("<8sQQQQII")  # the mark, then Place
_CRC = struct.Struct("<I")  # of the trailer itself
_KEY_BYTES = 64
_BLOCK = tarfile.BLOCKSIZE
_NAME_BYTES, _SIZE_AT = 100, slice(124, 135)  # of a header of USTAR
_MOST_MEMBERS = 64
_MOST_NPY_HEAD = 1 << 16


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
        if not place._lies_in(size - len(END_MARK) - length):
            raise ValueError("a damaged index")
        return place

    def _lies_in(self, end: int) -> bool:
        """Whether the rows lie in the tar, between its samples and byte `end`: a checksum does not say that."""
        known = self.members <= _MOST_MEMBERS and self.start >= _BLOCK and 0 < self.first - self.start <= _MOST_NPY_HEAD
        return known and self.first + self.rows * self.row_bytes <= end  # in this order: sizes multiply

    def npy(self, file: int) -> bytes:
        """The whole index as .npy. Raises ValueError when it is damaged."""
        data = os.pread(file, self.first - self.start + self.rows * self.row_bytes, self.start)
        if google_crc32c.value(data) != self.crc32c:
            raise ValueError("a damaged index")
        return data

    def table(self, npy: bytes) -> np.ndarray:
        """(rows,) of index_type(members), of what npy() gave, read-only. Raises ValueError when it is damaged.

        Its keys ascend, and it leads to places before itself alone.
        """
        rows = array_of(npy)
        if rows.shape != (self.rows,) or rows.dtype != index_type(self.members):
            raise ValueError("a damaged index")
        letters = rows["key"].astype(f"S{_KEY_BYTES}").view(np.uint8)
        keys = (
            (rows["key"][1:] > rows["key"][:-1]).all()
            and (letters < 128).all()
            and not np.isin(letters, list(b"./")).any()
        )
        if not keys or not self._is_inside(rows["offset"], rows["size"]):
            raise ValueError("a damaged index")
        return rows

    def row(self, file: int, position: int) -> np.void:
        """One row. It has no checksum, but stands in the keys' order, and what it leads to says its name (see ShardReader).

        Raises ValueError when there is none, or one that leads nowhere.
        """
        if not 0 <= position < self.rows:
            raise ValueError(f"no row {position}")
        begin, end = max(0, position - 1), min(self.rows, position + 2)
        data = os.pread(file, (end - begin) * self.row_bytes, self.first + begin * self.row_bytes)
        if len(data) < (end - begin) * self.row_bytes:
            raise ValueError(f"no row {position}")
        rows = np.frombuffer(data, index_type(self.members))
        keys, row = rows["key"].tolist(), rows[position - begin]
        if sorted(set(keys)) != keys or not self._is_sound(row):
            raise ValueError("a damaged index")
        return row

    def _is_sound(self, row: np.void) -> bool:
        """Whether a row has a key, and places of members."""
        return fits(row["key"].decode("latin-1")) and self._is_inside(row["offset"], row["size"])

    def _is_inside(self, offsets: np.ndarray, sizes: np.ndarray) -> bool:
        """Whether members lie before the index. None is empty, and zeros would pass for one. uint64, uint32, of one shape."""
        last = np.uint64(self.start)
        begin = (offsets >= _BLOCK) & (offsets <= last)
        return bool((begin & (sizes > 0) & (sizes <= last - np.minimum(offsets, last))).all())


def array_of(npy: bytes) -> np.ndarray:
    """What np.load gives, read-only. Raises ValueError.

    Makes no copy of a hundred million pairs, nor asks for as much memory as a damaged header claims.
    """
    file = io.BytesIO(npy)
    try:
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return np.frombuffer(npy, dtype, offset=file.tell()).reshape(shape)
    except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError, OverflowError) as error:
        raise ValueError(f"no array in numpy's format ({error})") from None


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
    if len(name) > _NAME_BYTES or size >= 8**11:
        raise ValueError(f"not a member of a shard: {name!r} of {size} bytes")
    header = bytearray(_TEMPLATE)
    header[: len(name)] = name
    header[_SIZE_AT] = b"%011o" % size
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
        with open_regular(path) as file:
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
    whole index is read when it is asked for, and checked by its checksum. To read a sample takes its row alone: the row has to
    stand in the order of keys, and the header before each member has to say the row's key and size, as a row has no checksum.
    """

    def __init__(self, path: Path, members: tuple[str, ...], opened: BinaryIO | None = None) -> None:
        self.path, self.members, self._kept = path, members, opened
        try:
            self._file = open_regular_handle(path) if opened is None else opened.fileno()
        except OSError as error:
            raise _bad(path, error) from None
        # A reader that nobody closes must not keep the file open.
        self._release = weakref.finalize(self, os.close, self._file) if opened is None else None
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
        if self._release is not None:
            self._release()

    def __len__(self) -> int:
        return self._place.rows

    @cached_property
    def index(self) -> np.ndarray:
        """(samples,) of index_type(members)."""
        try:
            return self._place.table(self._npy)
        except ValueError:
            raise BadShard(f"{self.path}: has a damaged index") from None

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
        row = self._row(position)
        if "index" not in self.__dict__:
            self._check_header(row, 0, self._pread(_BLOCK, int(row["offset"][0]) - _BLOCK))
        return str(row["key"].decode())

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
        if "index" in self.__dict__ and 0 <= position < len(self.index):
            return self.index[position]
        try:
            return self._place.row(self._file, position)
        except (OSError, ValueError) as error:
            raise _bad(self.path, error) from None

    def _read(self, row: np.void, column: int) -> bytes:
        """A member, read together with the header before it."""
        data = self._pread(_BLOCK + int(row["size"][column]), int(row["offset"][column]) - _BLOCK)
        self._check_header(row, column, data)
        member = data[_BLOCK:]
        self._check(row, column, member)
        return member

    def _pread(self, size: int, offset: int) -> bytes:
        try:
            return os.pread(self._file, size, offset)
        except OSError as error:
            raise _bad(self.path, error) from None

    def _check_header(self, row: np.void, column: int, header: bytes) -> None:
        """The tar's own header has to name the row's member, else row or header is damaged. Raises BadShard."""
        name = row["key"] + b"." + self.members[column].encode()
        size = b"%011o" % int(row["size"][column])
        if not header.startswith(name + b"\0" * (_NAME_BYTES - len(name))) or header[_SIZE_AT] != size:
            raise BadShard(f"{self.path}: has a damaged index or header at {name.decode('latin-1')}")

    def _check(self, row: np.void, column: int, data: bytes) -> None:
        if google_crc32c.value(data) != row["crc32c"][column]:
            key = row["key"].decode("ascii", "replace")
            raise BadShard(f"{self.path}: {key}.{self.members[column]} is damaged (crc32c differs)")


def _bad(path: Path, error: Exception) -> BadShard:
    """OSError: what the system says; ValueError: what the tar has."""
    told = f"cannot be read ({error.strerror})" if isinstance(error, OSError) else f"has {error}"
    return BadShard(f"{path}: {told}")
