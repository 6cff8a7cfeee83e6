"""The class at the seed of every pair, in one small file beside a manifest: what to draw is known without opening an index.

In: the indices of a corpus (fine classes) or of a round of labels (training classes). Out: `seeds-<sha256, 8 digits>.npy`,
uint8 (pairs,), in the order of the manifest's shards. The manifest names it and its sha256 in facts.seeds, so that an older
manifest keeps its own file until both are pruned.
"""

import base64
import hashlib
import io
import zlib
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.store import Store, open_store
from shards.manifest import Manifest, ShardEntry
from shards.tar import index_path

_READERS = 8


def publish_seeds(
    store: Store | Path, shards: Iterable[ShardEntry], packed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Write the file from the shards' indices. Returns facts.seeds. Raises RuntimeError for an index of another sha256.

    packed: shard name -> its seeds as pack_seeds gave them; of its index is only asked whether it is there.
    """
    store, known = open_store(store), packed or {}
    names = set(store.names("")) if known else set()

    def seeds(shard: ShardEntry) -> np.ndarray:
        if shard.name not in known:
            return _of_index(store, shard)
        found = np.frombuffer(zlib.decompress(base64.b64decode(known[shard.name])), np.uint8)
        if len(found) != shard.samples or index_path(Path(shard.name)).name not in names:
            raise RuntimeError(
                f"{shard.name} in {store.where}: its index is gone, or its record has not a seed for each pair"
            )
        return found

    with ThreadPoolExecutor(_READERS) as pool:
        parts = list(pool.map(seeds, shards))
    return write_seeds(store, np.concatenate([np.empty(0, np.uint8), *parts]))


def pack_seeds(seeds: np.ndarray) -> str:
    """uint8 (samples,) as a short text for a record, so that a merge need not open every index."""
    return base64.b64encode(zlib.compress(seeds.astype(np.uint8).tobytes(), 9)).decode()


def write_seeds(store: Store | Path, seeds: np.ndarray) -> dict[str, str]:
    """Write uint8 (pairs,) under its name. Returns facts.seeds."""
    buffer = io.BytesIO()
    np.save(buffer, seeds, allow_pickle=False)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    name = f"seeds-{digest[:8]}.npy"
    open_store(store).write(name, buffer.getvalue())
    return {"name": name, "sha256": digest}


def _of_index(store: Store, shard: ShardEntry) -> np.ndarray:
    name = index_path(Path(shard.name)).name
    data = store.read(name)
    if hashlib.sha256(data).hexdigest() != shard.index_sha256:
        raise RuntimeError(f"{name} in {store.where} is not the index that was made with {shard.name}")
    return np.load(io.BytesIO(data), allow_pickle=False)["seed"].copy()


def seeds_name(manifest: Manifest) -> str | None:
    """Name of the file; None: a manifest from before there was one."""
    facts = manifest.facts.get("seeds")
    return facts["name"] if isinstance(facts, dict) else None


def read_seeds(folder: Path, manifest: Manifest) -> np.ndarray:
    """uint8 (pairs,): class at the seed, 255 where there is none. Without the file (older corpora) every index is read.

    Raises UserError when the file is missing or is not the manifest's.
    """
    name = seeds_name(manifest)
    if name is None:
        paths = [index_path(folder / shard.name) for shard in manifest.shards]
        parts = [np.load(path, allow_pickle=False)["seed"].copy() for path in paths]  # a copy lets go of the index
        return np.concatenate([np.empty(0, np.uint8), *parts])
    try:
        data = (folder / name).read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", folder / name, "Build or label again: it continues."
        ) from None
    seeds = np.load(io.BytesIO(data), allow_pickle=False) if _is(data, manifest) else None
    if seeds is None or seeds.dtype != np.uint8 or seeds.shape != (sum(shard.samples for shard in manifest.shards),):
        raise UserError(
            "is not the file of the manifest beside it", folder / name, "Build or label again: it continues."
        )
    return seeds


def _is(data: bytes, manifest: Manifest) -> bool:
    return hashlib.sha256(data).hexdigest() == manifest.facts["seeds"]["sha256"]
