"""Whether the files of sidecar shards are those of their manifest: sizes of the tars, hashes of the indices."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from shards.manifest import ShardEntry
from shards.tar import BadShard, size_and_index_sha256

_READERS = 16


def first_fault(folder: Path, entries: Sequence[ShardEntry]) -> str:
    """What is wrong with the first sidecar that is not whole; empty: nothing."""
    with ThreadPoolExecutor(_READERS, thread_name_prefix="check") as pool:
        return next((fault for fault in pool.map(lambda entry: _fault(folder, entry), entries) if fault), "")


def _fault(folder: Path, entry: ShardEntry) -> str:
    try:
        size, index = size_and_index_sha256(folder / entry.name)
    except BadShard as error:
        return f"{entry.name} {str(error).removeprefix(f'{folder / entry.name}: ')}"
    if size != entry.bytes:
        return f"{entry.name} has {size} bytes, not the {entry.bytes} that the manifest says"
    if index != entry.index_sha256:
        return f"the index of {entry.name} is not the manifest's"
    return ""
