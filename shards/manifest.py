"""Manifests: what a corpus (or a round of labels) holds, with hashes and counts. Small JSON, written last.

A reader believes a manifest and nothing else: a shard that no manifest lists does not exist.
"""

from pathlib import Path
from typing import Any, Literal

from mlseg_core.config import Strict, validate
from mlseg_core.files import read_json, write_json


class ShardEntry(Strict):
    """One tar. seeds: class name -> samples seeded there; pixels: class name -> labelled px of the high view.

    of: for a sidecar, the name of the shard whose samples it speaks of.
    """

    name: str
    bytes: int
    sha256: str
    index_sha256: str
    samples: int
    slide: str
    split: str
    of: str = ""
    seeds: dict[str, int] = {}
    pixels: dict[str, int] = {}


class SlideEntry(Strict):
    """A row of the slide table; slug is its name in keys."""

    slug: str
    slide: str
    patient: str
    stain: str
    scanner: str
    source: str
    split: str
    score: float | None = None


class Manifest(Strict):
    """kind: `corpus` (pairs) or `labels` (a round's sidecars). parents: name -> sha256 of what it was made from."""

    version: Literal[1] = 1
    kind: Literal["corpus", "labels"]
    fingerprint: str
    members: tuple[str, ...]
    classes: tuple[str, ...]
    views: dict[str, float]
    shards: tuple[ShardEntry, ...]
    slides: tuple[SlideEntry, ...] = ()
    totals: dict[str, int]
    parents: dict[str, str] = {}
    facts: dict[str, Any] = {}

    def of_splits(self, *splits: str) -> tuple[ShardEntry, ...]:
        return tuple(shard for shard in self.shards if shard.split in splits)


def read_manifest(path: Path) -> Manifest:
    """Raises UserError."""
    return validate(read_json(path), Manifest, path)


def write_manifest_file(path: Path, manifest: Manifest) -> None:
    write_json(path, manifest.model_dump(mode="json"))


def totals(shards: tuple[ShardEntry, ...] | list[ShardEntry]) -> dict[str, int]:
    return {
        "shards": len(shards),
        "samples": sum(shard.samples for shard in shards),
        "bytes": sum(shard.bytes for shard in shards),
    }
