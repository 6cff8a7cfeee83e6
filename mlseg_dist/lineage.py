"""Where a sample comes from and what was said about it: slide, place, annotation, labels of each round, and the teachers.

In: a run folder and a KEY. Out: plain values, for people and programs. Hashes say which file was which.
"""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.config import CLASSES, IGNORED, LearningConfig
from mlseg_dist.run_folder import is_cleaned, labels_folder, phase_folder, shards_folder, teacher_record
from shards.manifest import Manifest, ShardEntry, read_manifest
from shards.sample import decode_label
from shards.tar import ShardReader


def lineage(config: LearningConfig, run: Path, key: str) -> dict[str, Any]:
    """Raises UserError for a key that the run's corpus does not have, BadShard for a damaged shard."""
    folder = shards_folder(run)
    corpus = read_manifest(folder / "manifest.json")
    entry, row = _find(corpus, folder, key)
    with ShardReader(folder / entry.name, corpus.members) as shard:
        members = shard.read(row)
    info = json.loads(members["json"])
    return {
        "key": key,
        "slide": {name: info[name] for name in ("slide", "slug", "patient", "stain", "scanner", "source", "split")},
        "place": {"center_level0_px": info["center"], "mpp0": info["mpp0"], "seed_class": info["seed_class"]},
        "views": {name: corpus.views[name] for name in ("high_mpp", "low_mpp", "store_px")},
        "shard": {"name": entry.name, "row": row, "sha256": entry.sha256},
        "inputs": _inputs(folder, entry.slide),
        "labelled_by_people": info["pixels"],
        "rounds": [_round(config, run, index, entry, row, key) for index in _rounds(config)],
    }


def _find(corpus: Manifest, folder: Path, key: str) -> tuple[ShardEntry, int]:
    slug = key.partition("+")[0]
    for entry in corpus.shards:
        if entry.slide != slug:
            continue
        with ShardReader(folder / entry.name, corpus.members) as shard:
            keys = shard.index["key"]
            row = int(np.searchsorted(keys, key.encode()))
            if row < len(keys) and keys[row] == key.encode():
                return entry, row
    what = (
        f"no sample {key!r}"
        if any(entry.slide == slug for entry in corpus.shards)
        else f"no slide {slug!r} has samples"
    )
    raise UserError(what, folder / "manifest.json", "A KEY is SLUG+yYYYYYYY+xXXXXXXX, as shards and reports name it.")


def _inputs(folder: Path, slug: str) -> dict[str, Any]:
    """Hashes of the slide, the annotation and the settings that it was cut from."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return dict(json.loads((folder / "done" / f"{slug}.json").read_bytes())["facts"]["inputs"])
    return {}


def _rounds(config: LearningConfig) -> list[int]:
    """Indices of the steps that learn from a round of labels."""
    return [index for index in range(len(config.steps)) if config.round_of(index) is not None]


def _round(config: LearningConfig, run: Path, index: int, entry: ShardEntry, row: int, key: str) -> dict[str, Any]:
    """What the round that a step learns from says of the sample, by view, class and in px of the labels."""
    number, before = config.round_of(index), config.step_before(index)
    assert number is not None and before is not None
    folder, teacher = labels_folder(run, number), config.steps[before].name
    found: dict[str, Any] = {"round": number, "for_step": config.steps[index].name, "teacher": _teacher(run, teacher)}
    if not (folder / "manifest.json").is_file():
        return {**found, "said": "the round was not made yet"}
    manifest = read_manifest(folder / "manifest.json")
    found |= {
        "manifest_sha256": sha256_file(folder / "manifest.json"),
        "teacher_sha256": manifest.parents.get("teacher"),
        "is_of_this_teacher": manifest.parents.get("teacher") == found["teacher"].get("sha256"),
    }
    sidecar = next((one for one in manifest.shards if one.of == entry.name), None)
    if sidecar is None:
        return {**found, "said": "only slides of the train split are labelled"}
    if is_cleaned(folder):
        return {**found, "said": "its labels were removed to make room"}
    with ShardReader(folder / sidecar.name, manifest.members) as shard:
        if shard.key(row) != key:
            raise UserError(f"row {row} is not {key}", folder / sidecar.name, "Make the round again.")
        members = shard.read(row)
    accepting = manifest.facts.get("accepting") or {}
    said = {view: _said(decode_label(members[f"{view}.png"]), accepting.get(view) or {}) for view in ("high", "low")}
    return {**found, "shard": sidecar.name, "labels": said}


def _said(codes: np.ndarray, thresholds: dict[str, float | None]) -> dict[str, dict[str, float]]:
    """Class -> share of the view that the teacher called so, and that the round accepts."""
    from mlseg_dist.data.labels import LEVELS

    out = {}
    for number, name in enumerate(CLASSES):
        own = (codes // LEVELS == number) & (codes != IGNORED)
        threshold = thresholds.get(name)
        sure = own & (codes % LEVELS >= round(threshold * (LEVELS - 1))) if threshold is not None else own & False
        out[name] = {"called": round(float(own.mean()), 4), "accepted": round(float(sure.mean()), 4)}
    return out


def _teacher(run: Path, step: str) -> dict[str, Any]:
    try:
        record = teacher_record(run, step)
    except UserError:
        return {"step": step}
    weights = phase_folder(run, step) / record["weights"]
    return {"step": step, "weights": str(weights), "sha256": record["sha256"], "optimizer_step": record.get("step")}
