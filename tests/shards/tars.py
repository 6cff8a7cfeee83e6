"""Shards for tests: what their index says, one with another index, one that write_shard would refuse."""

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import google_crc32c
import numpy as np

from shards.tar import Place, ShardReader, index_type, write_end, write_shard


def index_of(path: Path) -> np.ndarray:
    """(samples,) of index_type, to keep and to change."""
    with open(path, "rb") as file:
        return np.load(io.BytesIO(Place.find(file.fileno()).npy(file.fileno())), allow_pickle=False)


def replace_index(path: Path, index: np.ndarray) -> None:
    """Let the tar end with this index, as if it had been written so."""
    with open(path, "r+b") as file:
        file.seek(Place.find(file.fileno()).start - tarfile.BLOCKSIZE)
        file.truncate()
        write_end(file, index)


def rename_keys(path: Path, members: tuple[str, ...]) -> None:
    """Write the shard anew with each key ending in `1`, a sound shard of other samples."""
    with ShardReader(path, members) as reader:
        samples = [(f"{reader.key(row)}1", reader.read(row)) for row in range(len(reader))]
    write_shard(path, samples)


def write_loosely(path: Path, samples: list[tuple[str, dict[str, bytes]]]) -> None:
    """As write_shard, whatever the keys and members are; without an index where none can be made of them."""
    rows: list[tuple] = []
    with open(path, "wb") as file:
        for key, members in samples:
            places = []
            for name in sorted(members):
                entry = tarfile.TarInfo(f"{key}.{name}")
                entry.size, entry.mode, entry.uname, entry.gname = len(members[name]), 0o444, "mlseg", "mlseg"
                file.write(entry.tobuf(tarfile.USTAR_FORMAT))
                places.append((file.tell(), len(members[name]), google_crc32c.value(members[name])))
                file.write(members[name] + bytes(-len(members[name]) % tarfile.BLOCKSIZE))
            rows.append((key.encode(), *zip(*places, strict=True)))
        with suppress(ValueError):
            write_end(file, np.array(rows, index_type(len(samples[0][1]))))
            return
        file.write(bytes(-file.tell() % tarfile.RECORDSIZE or tarfile.RECORDSIZE))
