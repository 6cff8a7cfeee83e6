"""Manifests: what a corpus (or a round of labels) holds, with hashes and counts; and the class at the seed of every pair.

A manifest is small JSON, written last. A reader believes a manifest and nothing else: a shard that no manifest lists does not
exist. Seeds lie beside it in `seeds-<sha256, 8 digits>.npy`, uint8 (pairs,), in the order of the manifest's shards: of a corpus
the fine class at each seed, of a round of labels the training class. So what to draw is known without opening a shard. The
manifest names the file and its sha256 in facts.seeds; an older manifest keeps its own file until both are pruned.
"""

import base64
import gc
import hashlib
import io
import json
import re
import zlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
from pydantic import AfterValidator, Field, ValidationError, model_validator

from mlseg_core.config import StableDump, Strict, validate
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, read_regular
from mlseg_core.store import Store, open_store
from shards.tar import BadShard, array_of, size_and_index_sha256

_MAKE_AGAIN = "Build the shards again (mlseg shards build, or a new campaign); what was made from them follows."


def _inside(name: str) -> str:
    """Of files in the manifest's own folder: the name leads nowhere else, and to no hidden file. Raises ValueError."""
    parts = name.split("/")
    if "\0" in name or any(not part or part.startswith(".") or len(part) > 255 for part in parts):
        raise ValueError("the name leads out of the folder")
    return name


def _plain(name: str) -> str:
    """Raises ValueError."""
    if "/" in name:
        raise ValueError("the name leads out of the folder")
    return _inside(name)


def _plain_if_any(name: str) -> str:
    """Raises ValueError."""
    return _plain(name) if name else name


def _inside_if_any(name: str) -> str:
    """Raises ValueError."""
    return _inside(name) if name else name


_SEEDS_NAME = re.compile(r"seeds-[0-9a-f]+\.npy")
Count = Annotated[int, Field(ge=0, lt=1 << 53)]


class ShardEntry(Strict):
    """One tar. seeds: class name -> samples seeded there; pixels: class name -> labelled px of the high view.

    index_sha256: of the .npy at the tar's end.
    of: for a sidecar, the name of the shard whose samples it speaks of.
    """

    name: Annotated[str, AfterValidator(_plain)]
    bytes: Count
    sha256: str
    index_sha256: str
    samples: Count
    slide: str
    split: str
    of: Annotated[str, AfterValidator(_plain_if_any)] = ""
    seeds: dict[str, Count] = {}
    pixels: dict[str, Count] = {}


Box = tuple[int, int, int, int]
"""left, top, right, bottom in px of a view's plane (plane.py); right and bottom are the first that lie outside again."""


class Inside(Strict):
    """The pixels of each view's plane whose centres lie on the scanned part of a slide."""

    high: Box
    low: Box


class SlideEntry(StableDump):
    """A row of the slide table; slug is its name in keys.

    overview: name of its overview file.  quarantined: why it has no samples, though it should.
    inside: where the slide lies (outside.py); None where it failed, or an earlier version cut it.
    """

    added_later: ClassVar = ("inside",)

    slug: str
    slide: str
    patient: str
    stain: str
    scanner: str
    source: str
    split: str
    score: float | None = None
    overview: Annotated[str, AfterValidator(_inside_if_any)] = ""
    quarantined: str = ""
    inside: Inside | None = None


class Manifest(Strict):
    """kind: `corpus` (pairs), `labels` (a round's sidecars) or `styled` (images in other styles).

    parents: name -> sha256 of what it was made from.
    """

    version: Literal[2] = 2
    kind: Literal["corpus", "labels", "styled"]
    fingerprint: str
    members: tuple[str, ...]
    classes: tuple[str, ...]
    views: dict[str, float]
    shards: tuple[ShardEntry, ...]
    slides: tuple[SlideEntry, ...] = ()
    totals: dict[str, int]
    parents: dict[str, str] = {}
    facts: dict[str, Any] = {}

    @model_validator(mode="after")
    def _names_its_seeds(self) -> Self:
        said = self.facts.get("seeds")
        if said is None:
            return self
        if not (isinstance(said, dict) and isinstance(said.get("name"), str) and isinstance(said.get("sha256"), str)):
            raise ValueError("facts.seeds does not name a file of seeds and its sha256")
        if not _SEEDS_NAME.fullmatch(said["name"]):
            raise ValueError(f"the name of the seeds, {said['name']!r}, leads out of the folder or is not one of ours")
        return self

    @property
    def ratio(self) -> int:
        """low µm/px over high µm/px."""
        return round(self.views["low_mpp"] / self.views["high_mpp"])

    def of_splits(self, *splits: str) -> tuple[ShardEntry, ...]:
        return tuple(shard for shard in self.shards if shard.split in splits)


def read_manifest(path: Path) -> Manifest:
    """Raises UserError."""
    with suppress(OSError, ValidationError), _no_collecting():
        return Manifest.model_validate_json(read_regular(path))
    raw = read_json(path)  # to say what is wrong
    if isinstance(raw, dict) and raw.get("version") == 1:
        raise UserError("its shards have no index inside them (version 1)", path, _MAKE_AGAIN)
    return validate(raw, Manifest, path)


def parse_manifest(data: bytes, where: Path | str) -> Manifest:
    """A manifest's text. Raises UserError for one that is damaged, of version 1, or not ours."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"not valid JSON ({error})", where, "Restore the file or make it again.") from None
    if isinstance(raw, dict) and raw.get("version") == 1:
        raise UserError("its shards have no index inside them (version 1)", where, _MAKE_AGAIN)
    return validate(raw, Manifest, where)


def is_manifest(data: bytes, kind: str) -> bool:
    """Whether some text is a manifest of ours, of whatever version. kind: `corpus`, `labels` or `styled`."""
    try:
        raw = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return (
        isinstance(raw, dict) and {"version", "fingerprint", "shards"} <= raw.keys() and raw.get("kind", kind) == kind
    )


@contextmanager
def _no_collecting() -> Iterator[None]:
    """A manifest of 100,000 shards is no rubbish, and to search it for some while it is made takes as long as making it."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def kept_manifest(path: Path) -> Manifest:
    """As read_manifest; a process that asks again gets what it has read, as long as the file is the same. Raises UserError."""
    try:
        stat = path.stat()
    except OSError:
        return read_manifest(path)  # it says what is wrong
    return _kept(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=2)
def _kept(path: Path, mtime_ns: int, size: int) -> Manifest:
    return read_manifest(path)


def write_manifest_file(store: Store | Path, manifest: Manifest, name: str = "manifest.json") -> None:
    """Into a store of shards, atomically."""
    open_store(store).write(name, json.dumps(manifest.model_dump(mode="json"), indent=1, ensure_ascii=False) + "\n")


def totals(shards: tuple[ShardEntry, ...] | list[ShardEntry]) -> dict[str, int]:
    return {
        "shards": len(shards),
        "samples": sum(shard.samples for shard in shards),
        "bytes": sum(shard.bytes for shard in shards),
    }


_FIX = "Build or label again: it continues."


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
    return str(facts["name"]) if isinstance(facts, dict) else None


def read_seeds(folder: Path, manifest: Manifest) -> np.ndarray:
    """uint8 (pairs,), read-only: class at the seed, 255 where there is none.

    Raises UserError when the file is missing or another's.
    """
    name = seeds_name(manifest)
    if name is None:
        raise UserError("names no file of seeds", folder / "manifest.json", _FIX)
    try:
        data = read_regular(folder / name)
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", folder / name, _FIX) from None
    is_its = hashlib.sha256(data).hexdigest() == manifest.facts["seeds"]["sha256"]
    try:
        seeds = array_of(data) if is_its else None
    except ValueError:
        seeds = None
    if seeds is None or seeds.dtype != np.uint8 or seeds.shape != (sum(shard.samples for shard in manifest.shards),):
        raise UserError("is not the file of the manifest beside it", folder / name, _FIX)
    return seeds


def by_shard(manifest: Manifest, seeds: np.ndarray) -> Iterator[tuple[ShardEntry, np.ndarray]]:
    """Each shard with its part of read_seeds."""
    first = 0
    for shard in manifest.shards:
        yield shard, seeds[first : first + shard.samples]
        first += shard.samples


def kept_seeds(folder: Path) -> dict[str, np.ndarray]:
    """Shard name -> its seeds, for the manifest in `folder`; a process that asks again gets what it has read. Raises UserError."""
    manifest = kept_manifest(folder / "manifest.json")
    return _remembered(folder, manifest.facts["seeds"]["sha256"] if seeds_name(manifest) else "")


@lru_cache(maxsize=2)
def _remembered(folder: Path, sha256: str) -> dict[str, np.ndarray]:
    manifest = kept_manifest(folder / "manifest.json")
    return {shard.name: part for shard, part in by_shard(manifest, read_seeds(folder, manifest))}


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
