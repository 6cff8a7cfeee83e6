"""Tar shards: written with bytes that depend on their samples only, indexed, read at random with a checksum each time.

The format is WebDataset's (KEY.member, samples contiguous, USTAR); we write it with tarfile because importing
webdataset imports torch.
"""

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import google_crc32c
import numpy as np

from mlseg_core.files import write_atomic

NO_SEED = 255


def write_shard(path: Path, samples: Iterable[tuple[str, dict[str, bytes]]]) -> None:
    """Write (KEY, member -> bytes) samples. Fixed time, owner and order: the same samples give the same sha256."""
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for key, members in samples:
            for name in sorted(members):
                entry = tarfile.TarInfo(f"{key}.{name}")
                entry.size = len(members[name])
                entry.mode = 0o444
                entry.uname = entry.gname = "mlseg"
                tar.addfile(entry, io.BytesIO(members[name]))


def index_type(members: int) -> np.dtype:
    """One row a sample. offset, size: bytes in the tar per member; seed: fine class at the seed point or NO_SEED."""
    numbers = (("offset", "<u8", (members,)), ("size", "<u4", (members,)), ("crc32c", "<u4", (members,)))
    return np.dtype([("key", "S64"), ("slide", "S48"), ("seed", "u1"), *numbers])


class BadShard(Exception):
    """A shard is not what its index says: damaged, truncated or replaced. Names the shard, and the sample if known."""


def index_shard(path: Path, members: tuple[str, ...]) -> np.ndarray:
    """Scan a tar and index it; `seed` stays NO_SEED. Raises BadShard unless every sample has exactly `members`, keys ascending."""
    rows: dict[str, dict[str, tuple[int, int, int]]] = {}
    try:
        with tarfile.open(path, "r:") as tar, open(path, "rb") as file:
            for entry in tar:
                key, dot, member = entry.name.partition(".")
                if not entry.isreg() or not dot or "/" in entry.name or member in rows.get(key, {}):
                    raise BadShard(f"{path}: {entry.name!r} has no place in a shard")
                file.seek(entry.offset_data)
                crc = google_crc32c.value(file.read(entry.size))
                rows.setdefault(key, {})[member] = (entry.offset_data, entry.size, crc)
    except (tarfile.TarError, OSError) as error:
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


def index_path(shard: Path) -> Path:
    """Where a shard's index lies: X.tar -> X.index.npy."""
    return shard.with_suffix(".index.npy")


def publish_index(shard: Path, index: np.ndarray) -> str:
    """Write the index beside its shard, atomically. Returns its sha256."""
    buffer = io.BytesIO()
    np.save(buffer, index, allow_pickle=False)
    write_atomic(index_path(shard), buffer.getvalue())
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

    index: of a shard whose index is not published yet; else it is read from beside the shard.
    """

    path: Path
    members: tuple[str, ...]
    index: np.ndarray = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        try:
            if self.index is None:
                self.index = np.load(index_path(self.path), allow_pickle=False)
            self._file = os.open(self.path, os.O_RDONLY)
        except (OSError, ValueError) as error:
            raise BadShard(f"{self.path}: {error}") from None
        if self.index.dtype != index_type(len(self.members)):
            raise BadShard(f"{index_path(self.path)}: not an index of {len(self.members)} members")

    def __enter__(self) -> "ShardReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        os.close(self._file)

    def __len__(self) -> int:
        return len(self.index)

    def key(self, position: int) -> str:
        return self.index[position]["key"].decode()

    def read(self, position: int) -> dict[str, bytes]:
        """Member name -> bytes of the sample at `position`."""
        return {member: self.read_member(position, column) for column, member in enumerate(self.members)}

    def read_member(self, position: int, column: int) -> bytes:
        row = self.index[position]
        data = os.pread(self._file, int(row["size"][column]), int(row["offset"][column]))
        if google_crc32c.value(data) != row["crc32c"][column]:
            raise BadShard(f"{self.path}: {self.key(position)}.{self.members[column]} is damaged (crc32c differs)")
        return data
