"""Tar shards: written with bytes that depend on their samples only, indexed, read at random with a checksum each time.

The format is WebDataset's (KEY.member, samples contiguous, USTAR). Headers are patched into one that tarfile made:
making each with tarfile more than doubles the time of writing, and importing webdataset imports torch.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Collection, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import google_crc32c
import numpy as np

from mlseg_core.files import write_atomic

NO_SEED = 255


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
    """Write (KEY, member -> bytes) samples. Fixed time, owner and order: the same samples give the same sha256.

    target: an open file is left open.
    """
    with open(target, "wb") if isinstance(target, Path) else nullcontext(target) as file:
        for key, members in samples:
            for name in sorted(members):
                data = members[name]
                file.write(_header(f"{key}.{name}".encode(), len(data)))
                file.write(data)
                file.write(bytes(-len(data) % _BLOCK))
        file.write(bytes(2 * _BLOCK))  # the end mark
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE))


def index_type(members: int) -> np.dtype:
    """One row a sample. offset, size: bytes in the tar per member; seed: fine class at the seed point or NO_SEED."""
    numbers = (("offset", "<u8", (members,)), ("size", "<u4", (members,)), ("crc32c", "<u4", (members,)))
    return np.dtype([("key", "S64"), ("slide", "S48"), ("seed", "u1"), *numbers])


class BadShard(Exception):
    """A shard is not what its index says: damaged, truncated or replaced. Names the shard, and the sample if known."""


def index_shard(path: Path, members: tuple[str, ...], opened: BinaryIO | None = None) -> np.ndarray:
    """Scan a tar and index it; `seed` stays NO_SEED. Raises BadShard unless every sample has exactly `members`, keys ascending.

    opened: the tar, where it is open already.
    """
    rows: dict[str, dict[str, tuple[int, int, int]]] = {}
    try:
        with open(path, "rb") if opened is None else nullcontext(opened) as file:
            file.seek(0)
            for full_name, offset, data in _members(path, file):
                key, dot, member = full_name.partition(".")
                if not dot or "/" in full_name or member in rows.get(key, {}):
                    raise BadShard(f"{path}: {full_name!r} has no place in a shard")
                rows.setdefault(key, {})[member] = (offset, len(data), google_crc32c.value(data))
    except OSError as error:
        raise BadShard(f"{path}: {error}") from None
    keys = list(rows)
    if keys != sorted(keys):
        raise BadShard(f"{path}: samples are not in the order of their keys")
    index = np.zeros(len(rows), index_type(len(members)))
    index["seed"] = NO_SEED
    for position, (key, found) in enumerate(rows.items()):
        if tuple(sorted(found)) != members:
            raise BadShard(f"{path}: sample {key} has members {', '.join(sorted(found))}, not {', '.join(members)}")
        index[position]["key"] = key.encode()
        index[position]["slide"] = key.partition("+")[0].encode()
        for column, name in enumerate(("offset", "size", "crc32c")):
            index[position][name] = [found[member][column] for member in members]
    return index


def _members(path: Path, file: BinaryIO) -> Iterator[tuple[str, int, bytes]]:
    """Name, offset and bytes of each member. Raises BadShard at the first header that write_shard did not write."""
    while (header := file.read(_BLOCK)) != bytes(_BLOCK):
        offset = file.tell()
        name, digits = header[:100].rstrip(b"\0"), header[124:135]
        size = int(digits, 8) if digits and not digits.strip(b"01234567") else -1
        if header != _header(name, size):
            raise BadShard(f"{path}: no header of a shard's member at byte {offset - len(header)}")
        data = file.read(size)
        file.seek(-size % _BLOCK, os.SEEK_CUR)
        if len(data) < size:
            raise BadShard(f"{path}: cut off inside {name.decode('ascii', 'replace')!r}")
        yield name.decode("ascii", "replace"), offset, data


def index_path(shard: Path) -> Path:
    """Where a shard's index lies: X.tar -> X.index.npy."""
    return shard.with_suffix(".index.npy")


def save_index(target: Path | BinaryIO, index: np.ndarray) -> str:
    """Write an index file: at a path atomically, else into an open file. Returns its sha256."""
    buffer = io.BytesIO()
    np.save(buffer, index, allow_pickle=False)
    if isinstance(target, Path):
        write_atomic(target, buffer.getvalue())
    else:
        target.write(buffer.getbuffer())
    return hashlib.sha256(buffer.getvalue()).hexdigest()


def wds2idx_text(index: np.ndarray, members: tuple[str, ...]) -> str:
    """The index in the text form of NVIDIA's wds2idx (v1.2), for DALI's readers.webdataset."""
    lines = [f"v1.2 {len(index)}"]
    for row in index:
        key = row["key"].decode()
        lines.append(" ".join(f"{m} {row['offset'][i]} {row['size'][i]} {key}.{m}" for i, m in enumerate(members)))
    return "\n".join(lines) + "\n"


@dataclass
class ShardReader:
    """Random access to one shard; every read is checked against its crc32c. Raises BadShard.

    index: of a shard whose index is not published yet; else it is read from beside the shard.  opened: the tar, where it is
    open already; it stays open.
    """

    path: Path
    members: tuple[str, ...]
    index: np.ndarray = None  # type: ignore[assignment]
    opened: BinaryIO | None = None

    def __post_init__(self) -> None:
        try:
            if self.index is None:
                self.index = np.load(index_path(self.path), allow_pickle=False)
            if self.index.dtype != index_type(len(self.members)):
                raise BadShard(f"{index_path(self.path)}: not an index of {len(self.members)} members")
            self._file = os.open(self.path, os.O_RDONLY) if self.opened is None else self.opened.fileno()
        except (OSError, ValueError) as error:
            raise BadShard(f"{self.path}: {error}") from None

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self.opened is None:
            os.close(self._file)

    def __len__(self) -> int:
        return len(self.index)

    def key(self, position: int) -> str:
        return self.index[position]["key"].decode()

    def read(self, position: int, wanted: Collection[str] | None = None) -> dict[str, bytes]:
        """Member name -> bytes of the sample at `position`. wanted: only those; None: all."""
        return {
            member: self.read_member(position, column)
            for column, member in enumerate(self.members)
            if wanted is None or member in wanted
        }

    def read_member(self, position: int, column: int) -> bytes:
        row = self.index[position]
        data = os.pread(self._file, int(row["size"][column]), int(row["offset"][column]))
        if google_crc32c.value(data) != row["crc32c"][column]:
            raise BadShard(f"{self.path}: {self.key(position)}.{self.members[column]} is damaged (crc32c differs)")
        return data
