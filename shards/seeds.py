"""The class at the seed of every pair, in one small file beside a manifest: what to draw is known without opening a shard.

In: of each shard of a corpus the fine class at each seed, of a round of labels the training class. Out: `seeds-<sha256, 8
digits>.npy`, uint8 (pairs,), in the order of the manifest's shards. The manifest names it and its sha256 in facts.seeds, so that
an older manifest keeps its own file until both are pruned.
"""

import base64
import hashlib
import io
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.store import Store, open_store
from shards.manifest import Manifest, ShardEntry, kept_manifest

_MEND = "Build or label again: it continues."


def pack_seeds(seeds: np.ndarray) -> str:
    """uint8 (samples,) as a short text for a shard's record."""
    return base64.b64encode(zlib.compress(seeds.astype(np.uint8).tobytes(), 9)).decode()


def unpack_seeds(text: str) -> np.ndarray:
    """What pack_seeds was given."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8)


def publish_seeds(store: Store | Path, shards: Sequence[ShardEntry], packed: Mapping[str, str]) -> dict[str, str]:
    """Write the file. packed: shard name -> its seeds, as pack_seeds gave them. Returns facts.seeds.

    Raises RuntimeError for a shard that has not a seed for each pair.
    """
    parts = [np.empty(0, np.uint8), *(unpack_seeds(packed[shard.name]) for shard in shards)]
    for shard, part in zip(shards, parts[1:], strict=True):
        if len(part) != shard.samples:
            raise RuntimeError(f"the record of {shard.name} has {len(part)} seeds for {shard.samples} pairs")
    return write_seeds(store, np.concatenate(parts))


def write_seeds(store: Store | Path, seeds: np.ndarray) -> dict[str, str]:
    """Write uint8 (pairs,) under its name. Returns facts.seeds."""
    buffer = io.BytesIO()
    np.save(buffer, seeds, allow_pickle=False)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    name = f"seeds-{digest[:8]}.npy"
    open_store(store).write(name, buffer.getvalue())
    return {"name": name, "sha256": digest}


def seeds_name(manifest: Manifest) -> str | None:
    """Name of the file; None: there is none, as beside styled views."""
    facts = manifest.facts.get("seeds")
    return facts["name"] if isinstance(facts, dict) else None


def read_seeds(folder: Path, manifest: Manifest) -> np.ndarray:
    """uint8 (pairs,), read-only: class at the seed, 255 where there is none.

    Raises UserError when the file is missing or another's.
    """
    name = seeds_name(manifest)
    if name is None:
        raise UserError("names no file of seeds", folder / "manifest.json", _MEND)
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", folder / name, _MEND) from None
    is_its = hashlib.sha256(data).hexdigest() == manifest.facts["seeds"]["sha256"]
    seeds = _array(data) if is_its else None
    if seeds is None or seeds.dtype != np.uint8 or seeds.shape != (sum(shard.samples for shard in manifest.shards),):
        raise UserError("is not the file of the manifest beside it", folder / name, _MEND)
    return seeds


def _array(npy: bytes) -> np.ndarray:
    """What np.load gives, without another copy of a hundred million pairs."""
    file = io.BytesIO(npy)
    np.lib.format.read_magic(file)
    shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    return np.frombuffer(npy, dtype, offset=file.tell()).reshape(shape)


def by_shard(manifest: Manifest, seeds: np.ndarray) -> Iterator[tuple[ShardEntry, np.ndarray]]:
    """Each shard with its part of read_seeds."""
    first = 0
    for shard in manifest.shards:
        yield shard, seeds[first : first + shard.samples]
        first += shard.samples


def kept_seeds(folder: Path) -> dict[str, np.ndarray]:
    """Shard name -> its seeds, for the manifest in `folder`; a process that asks again gets what it has read. Raises UserError."""
    manifest = kept_manifest(folder / "manifest.json")
    return _kept(folder, manifest.facts["seeds"]["sha256"] if seeds_name(manifest) else "")


@lru_cache(maxsize=2)
def _kept(folder: Path, sha256: str) -> dict[str, np.ndarray]:
    manifest = kept_manifest(folder / "manifest.json")
    return {shard.name: part for shard, part in by_shard(manifest, read_seeds(folder, manifest))}
