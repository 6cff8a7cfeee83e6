"""The merge of styled shards: proof that nothing is missing or twice, then the manifest, which a reader believes."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Done, Unit, merge
from mlseg_core.files import fingerprint, sha256_file
from mlseg_dist.data.styled import MEMBERS
from mlseg_dist.events import LogEvent
from mlseg_dist.run_folder import forget_cleaned
from mlseg_dist.style.work import Job
from shards.manifest import Manifest, ShardEntry, read_manifest, totals, write_manifest_file


def write_styled(units: Sequence[Unit], folder: Path, log_event: LogEvent | None = None) -> Path:
    """units: those of work.units.  log_event: for pairs that lost too much structure (min_ssim); their shards are left out.

    Raises map.Incomplete; UserError when no pair is left; RuntimeError for a shard styled twice as one target, or not whole.
    """
    job: Job = units[0].payload
    path = job.shards / "manifest.json"
    corpus = read_manifest(path)
    done = merge(units, folder)
    entries = [_entry(one, corpus) for one in done]
    twice = Counter((one.facts["of"], one.facts["target"]) for one in done).most_common(1)[0]
    if twice[1] > 1:
        raise RuntimeError(f"{twice[0][0]} is styled twice as {twice[0][1]}")
    kept = _kept(done)
    worse = _worse(kept, job.config.min_ssim, log_event)
    left = [number for number, one in enumerate(done) if _name(one) not in worse]
    done, entries = [done[number] for number in left], [entries[number] for number in left]
    generators = {f"generator {unit.payload.pair.name}": unit.payload.generator for unit in units}
    styled = {entry.of for entry in entries}
    manifest = Manifest(
        kind="styled",
        fingerprint=fingerprint([*(unit.inputs for unit in units), *worse]),
        members=MEMBERS,
        classes=corpus.classes,
        views=corpus.views,
        shards=tuple(entries),
        totals=totals(entries),
        parents={"corpus": sha256_file(path), **dict(sorted(generators.items()))},
        facts={
            "by": job.config.by,
            "targets": {entry.name: one.facts["target"] for entry, one in zip(entries, done, strict=True)},
            "ssim": kept,
            "left_out": worse,
            "not_styled": [shard.name for shard in corpus.of_splits("train") if shard.name not in styled],
            "devices": dict(sorted(Counter(one.facts["device"] for one in done).items())),
        },
    )
    write_manifest_file(folder, manifest)
    forget_cleaned(folder)
    return folder / "manifest.json"


def _entry(done: Done, corpus: Manifest) -> ShardEntry:
    (name, file), facts = next(iter(done.files.items())), done.facts
    source = {shard.name: shard for shard in corpus.of_splits("train")}.get(facts["of"])
    if source is None or source.samples != facts["samples"]:
        raise RuntimeError(f"{name} does not hold the samples of a shard of the train split")
    facts = {key: facts[key] for key in ("samples", "index_sha256", "of")}
    return ShardEntry(name=name, slide=source.slide, split=source.split, **file, **facts)


def _worse(kept: dict[str, dict[str, Any]], least: float, log_event: LogEvent | None) -> list[str]:
    """The pairs of styles that keep too little. Raises UserError when all do."""
    worse = {name: found["mean"] for name, found in kept.items() if found["mean"] < least}
    if worse and len(worse) == len(kept):
        best = max(worse.values())
        fix = "Raise style.steps or style.ssim, or take gan_style out of the steps' augment."
        raise UserError(f"no pair of styles keeps an SSIM of {least}; the best has {best:.2f}", "style.min_ssim", fix)
    if worse and log_event is not None:
        names = ", ".join(f"{name} ({ssim:.2f})" for name, ssim in worse.items())
        log_event("style-left-out", f"SSIM under {least}, so training does not see them: {names}", pairs=worse)
    return list(worse)


def _name(done: Done) -> str:
    return f"{done.facts['source']} -> {done.facts['target']}"


def _kept(done: Sequence[Done]) -> dict[str, dict[str, Any]]:
    """`source -> target` -> SSIM of luminance: mean over samples and views, and the least."""
    found: dict[str, list[Done]] = {}
    for one in done:
        found.setdefault(_name(one), []).append(one)
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
