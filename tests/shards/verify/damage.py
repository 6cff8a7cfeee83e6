"""What tests of verify share: to look for damage, and to make damage that every hash agrees with."""

import json
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from mlseg_core.files import sha256_file
from shards.sample import MEMBERS
from shards.tar import NAME, BadShard, size_and_index_sha256, wds2idx_text
from shards.verify.corpus import verify_corpus
from tests.shards.tars import index_of, write_loosely


def found(folder: Path) -> list[str]:
    return [str(finding) for finding in verify_corpus(folder, 1).damage]


def entries(folder: Path) -> list[dict]:
    return json.loads((folder / "manifest.json").read_text())["shards"]


def edit_manifest(folder: Path, edit) -> None:
    tree = json.loads((folder / "manifest.json").read_text())
    edit(tree)
    (folder / "manifest.json").write_text(json.dumps(tree))


def read_samples(path: Path) -> list[tuple[str, dict[str, bytes]]]:
    samples: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as tar:
        for entry in tar:
            key, _, member = entry.name.partition(".")
            if key == NAME:
                continue
            samples.setdefault(key, {})[member] = tar.extractfile(entry).read()
    return list(samples.items())


def sidecar_entry(folder: Path, name: str, of: dict) -> dict:
    """What a manifest says of a sidecar shard of the train split. of: the entry of its shard in the corpus."""
    path = folder / name
    return {
        "name": name,
        **_hashes(path),
        "samples": len(index_of(path)),
        "slide": of["slide"],
        "split": "train",
        "of": of["name"],
    }


def rewrite(folder: Path, name: str, samples: list, members: tuple[str, ...] = MEMBERS) -> None:
    """Write other samples and make every hash, index and size of the manifest agree: damage from before hashing."""
    path = folder / name
    write_loosely(path, samples)
    with suppress(BadShard):
        size_and_index_sha256(path)
        path.with_suffix(".idx").write_text(wds2idx_text(index_of(path), members))
    agree(folder, name)


def agree(folder: Path, name: str) -> None:
    """Make the manifest say what a tar is now."""

    def edit(tree):
        entry = next(e for e in tree["shards"] if e["name"] == name)
        entry |= _hashes(folder / name)
        tree["totals"]["bytes"] = sum(e["bytes"] for e in tree["shards"])

    edit_manifest(folder, edit)


def _hashes(path: Path) -> dict:
    """Of its index only if it has one."""
    found = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    with suppress(BadShard):
        found["index_sha256"] = size_and_index_sha256(path)[1]
    return found


def rewrite_sidecar(folder: Path, row: int, member: str, change: Callable[[bytes], bytes]) -> str:
    """Change a member of the first shard, every hash agrees afterwards. Returns how a finding on that sample begins."""
    path = folder / entries(folder)[0]["name"]
    samples = read_samples(path)
    samples[row][1][member] = change(samples[row][1][member])
    write_loosely(path, samples)
    agree(folder, path.name)
    return f"{path.name} {samples[row][0]}: "
