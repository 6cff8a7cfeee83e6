"""Tar shards: written with bytes that depend on their samples only, indexed at their end, read at random with a checksum each time.

The format is WebDataset's (KEY.member, samples contiguous, USTAR). Headers are patched into one that tarfile made:
making each with tarfile more than doubles the time of writing, and importing webdataset imports torch.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import google_crc32c
import numpy as np

from shards.index import END_MARK, NAME, BadShard, Place, fits, index_type, pack

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
