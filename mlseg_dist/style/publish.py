"""The merge of styled shards: proof that nothing is missing or twice, then the manifest, which a reader believes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlseg_core.files import fingerprint, sha256_file
from mlseg_core.map import Done, Unit, merge
from mlseg_dist.data.styled import MEMBERS
from mlseg_dist.style.work import Job
from shards.manifest import Manifest, ShardEntry, read_manifest, totals, write_manifest_file


def write_styled(units: Sequence[Unit], folder: Path) -> Path:
    """units: those of work.units. Raises map.Incomplete; RuntimeError for a shard styled twice as one target, or not whole."""
    job: Job = units[0].payload
    path = job.shards / "manifest.json"
    corpus = read_manifest(path)
    done = merge(units, folder)
    entries = [_entry(one, corpus) for one in done]
    twice = Counter((one.facts["of"], one.facts["target"]) for one in done).most_common(1)[0]
    if twice[1] > 1:
        raise RuntimeError(f"{twice[0][0]} is styled twice as {twice[0][1]}")
    generators = {f"generator {unit.payload.pair.name}": unit.payload.generator for unit in units}
    styled = {entry.of for entry in entries}
    manifest = Manifest(
        kind="styled",
        fingerprint=fingerprint([unit.inputs for unit in units]),
        members=MEMBERS,
        classes=corpus.classes,
        views=corpus.views,
        shards=tuple(entries),
        totals=totals(entries),
        parents={"corpus": sha256_file(path), **dict(sorted(generators.items()))},
        facts={
            "by": job.config.by,
            "targets": {entry.name: one.facts["target"] for entry, one in zip(entries, done, strict=True)},
            "ssim": _kept(done),
            "not_styled": [shard.name for shard in corpus.of_splits("train") if shard.name not in styled],
            "devices": dict(sorted(Counter(one.facts["device"] for one in done).items())),
        },
    )
    write_manifest_file(folder, manifest)
    return folder / "manifest.json"


def _entry(done: Done, corpus: Manifest) -> ShardEntry:
    (name, file), facts = next(iter(done.files.items())), done.facts
    source = {shard.name: shard for shard in corpus.of_splits("train")}.get(facts["of"])
    if source is None or source.samples != facts["samples"]:
        raise RuntimeError(f"{name} does not hold the samples of a shard of the train split")
    facts = {key: facts[key] for key in ("samples", "index_sha256", "of")}
    return ShardEntry(name=name, slide=source.slide, split=source.split, **file, **facts)


def _kept(done: Sequence[Done]) -> dict[str, dict[str, Any]]:
    """`source -> target` -> SSIM of luminance: mean over samples and views, and the least."""
    found: dict[str, list[Done]] = {}
    for one in done:
        found.setdefault(f"{one.facts['source']} -> {one.facts['target']}", []).append(one)
    return {
        name: {
            "mean": round(
                sum(p.facts["ssim"]["mean"] * p.facts["samples"] for p in part) / sum(p.facts["samples"] for p in part),
                4,
            ),
            "least": min(p.facts["ssim"]["least"] for p in part),
        }
        for name, part in sorted(found.items())
    }
