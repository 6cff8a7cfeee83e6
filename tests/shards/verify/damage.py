"""What tests of verify share: to look for damage, and to make damage that every hash agrees with."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

from mlseg_core.files import sha256_file
from shards.sample import MEMBERS
from shards.tar import NO_SEED, index_path, index_shard, save_index, wds2idx_text, write_shard
from shards.verify.corpus import verify_corpus


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
            samples.setdefault(key, {})[member] = tar.extractfile(entry).read()
    return list(samples.items())


def sidecar_entry(folder: Path, name: str, of: dict, members: tuple[str, ...]) -> dict:
    """Index a sidecar shard of the train split; what a manifest says of it. of: the entry of its shard in the corpus."""
    path = folder / name
    index = index_shard(path, members)
    return {
        "name": name,
        "bytes": path.stat().st_size,
        "sha256": sha256_file(path),
        "index_sha256": save_index(index_path(path), index),
        "samples": len(index),
        "slide": of["slide"],
        "split": "train",
        "of": of["name"],
    }


def rewrite(folder: Path, name: str, samples: list, members: tuple[str, ...] = MEMBERS) -> None:
    """Write other samples and make every hash, index and size of the manifest agree: damage from before hashing."""
    path = folder / name
    write_shard(path, samples)

    def agree(tree):
        entry = next(e for e in tree["shards"] if e["name"] == name)
        try:
            index = index_shard(path, members)
        except Exception:
            pass  # no index can be made of such a tar; the old one stays
        else:
            seeds = {key: json.loads(parts["json"])["seed_class"] for key, parts in samples}
            for row in index:
                seed = seeds[row["key"].decode()]
                row["seed"] = NO_SEED if seed is None else tree["classes"].index(seed)
            entry["index_sha256"] = save_index(index_path(path), index)
            path.with_suffix(".idx").write_text(wds2idx_text(index, members))
        entry |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        tree["totals"]["bytes"] = sum(e["bytes"] for e in tree["shards"])

    edit_manifest(folder, agree)


def rewrite_sidecar(
    folder: Path, row: int, member: str, change: Callable[[bytes], bytes], members: tuple[str, ...]
) -> str:
    """Change a member of the first shard, every hash agrees afterwards. Returns how a finding on that sample begins."""
    path = folder / entries(folder)[0]["name"]
    samples = read_samples(path)
    samples[row][1][member] = change(samples[row][1][member])
    write_shard(path, samples)
    digest = save_index(index_path(path), index_shard(path, members))

    def agree(tree):
        tree["shards"][0] |= {"bytes": path.stat().st_size, "sha256": sha256_file(path), "index_sha256": digest}
        tree["totals"]["bytes"] = sum(e["bytes"] for e in tree["shards"])

    edit_manifest(folder, agree)
    return f"{path.name} {samples[row][0]}: "
