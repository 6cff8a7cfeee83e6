"""The teacher of a step labels the train split: shards -> sidecar shards with the same keys in the same order.

Batches never span shards, so a sidecar's bytes depend on the teacher, the shard and the config only.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from mlseg_core.files import fingerprint, sha256_file
from mlseg_core.map import Scratch, Unit, merge
from mlseg_dist.config import CLASSES, IGNORED, LearningConfig
from mlseg_dist.data import labels
from mlseg_dist.data.corpus import class_table
from mlseg_dist.inference import Predictor, load_teacher, settle_cpu
from mlseg_dist.run_folder import shards_folder, teacher_record
from shards.manifest import Manifest, ShardEntry, read_manifest, totals, write_manifest_file
from shards.sample import decode_label, decode_rgb, encode_json, encode_png
from shards.seeds import publish_seeds
from shards.tar import NO_SEED, ShardReader, index_path, index_shard, save_index, write_shard

RECIPE = 2  # raise it when the same inputs give other bytes
MEMBERS = ("high.png", "json", "low.png")
_CENTRE_UM = 32.0  # where an unannotated pair's drawing class is looked for when its seed is not accepted


def units(config: LearningConfig, step_index: int, run: Path) -> list[Unit]:
    """One unit a shard of the train split. step_index: of the teacher."""
    corpus = read_manifest(shards_folder(run) / "manifest.json")
    teacher = teacher_record(run, config.steps[step_index].name)["sha256"]
    inputs = {
        "recipe": RECIPE,
        "teacher": teacher,
        "label": config.steps[step_index].label.model_dump(mode="json"),
        "precision": config.train.precision,
        "classes": config.training_classes,
    }
    made = []
    for shard in corpus.of_splits("train"):
        key = fingerprint({**inputs, "shard": shard.sha256})
        stem = shard.name.removesuffix(".tar")
        made.append(Unit(stem, key, (config, step_index, run, shard.name, f"{stem}-{key[:8]}.tar")))
    return made


def label(unit: Unit, scratch: Scratch) -> None:
    """Label one shard."""
    config, step_index, run, shard_name, name = unit.payload
    teacher = _teacher(config, step_index, run)
    corpus = read_manifest(shards_folder(run) / "manifest.json")
    with ShardReader(shards_folder(run) / shard_name, corpus.members) as shard:
        write_shard(scratch.file(name), _sidecars(config, step_index, shard, teacher, corpus))


_loaded: dict[str, Predictor] = {}


def _teacher(config: LearningConfig, step_index: int, run: Path) -> Predictor:
    """The teacher, loaded once a process, by the hash of its weights."""
    key = teacher_record(run, config.steps[step_index].name)["sha256"]
    if key not in _loaded:
        settle_cpu(config.train.threads)
        _loaded[key] = load_teacher(config, step_index, run)
    return _loaded[key]


def _sidecars(
    config: LearningConfig, step_index: int, shard: ShardReader, teacher: Predictor, corpus: Manifest
) -> Iterator[tuple[str, dict[str, bytes]]]:
    settings = config.steps[step_index].label
    for first in range(0, len(shard), settings.batch):
        rows = range(first, min(first + settings.batch, len(shard)))
        members = [shard.read(row) for row in rows]
        views = [np.stack([decode_rgb(m[f"{view}.jpg"]) for m in members]) for view in ("high", "low")]
        predicted = teacher.predict(*views)
        for position, row in enumerate(rows):
            codes = {head: _codes(p[position], settings.stride) for head, p in predicted.items()}
            high = codes.get("merged", codes.get("high"))
            low = codes.get("low")
            if high is not None:
                low = labels.low_from_high(high, low, corpus.ratio, settings.threshold)
            elif low is not None:  # a base on the low view says nothing about high pixels
                high = np.full_like(low, IGNORED)
            assert high is not None and low is not None
            info = {"version": 1, "of": shard.key(row)}
            yield shard.key(row), {"high.png": encode_png(high), "low.png": encode_png(low), "json": encode_json(info)}


def _codes(probabilities: np.ndarray, stride: int) -> np.ndarray:
    """Mean over stride x stride cells, then class and level in one byte."""
    if stride > 1:
        classes, height, width = probabilities.shape
        cells = probabilities.reshape(classes, height // stride, stride, width // stride, stride)
        probabilities = cells.mean(axis=(2, 4))
    return labels.encode(probabilities)


def describe(unit: Unit, files: dict[str, Path], derived: Scratch) -> dict[str, Any]:
    """Index the published sidecar; `seed` is the drawing class that the teacher gives an unannotated pair. Counts accepted px."""
    config, step_index, run, shard_name, name = unit.payload
    threshold = config.steps[step_index].label.threshold
    corpus = read_manifest(shards_folder(run) / "manifest.json")
    path = files[name]
    index = index_shard(path, MEMBERS)
    accepted = np.zeros(256, np.int64)
    with ShardReader(path, MEMBERS, index) as sidecar:
        for row in range(len(index)):
            codes = decode_label(sidecar.read_member(row, MEMBERS.index("high.png")))
            classes = labels.decode(codes, threshold)
            accepted += np.bincount(classes.ravel(), minlength=256)
            index[row]["seed"] = _drawing_class(classes, corpus)
    human = class_table(corpus.classes, config.training_classes)[
        np.load(index_path(shards_folder(run) / shard_name), allow_pickle=False)["seed"]
    ]
    drawn = np.bincount(np.where(human == IGNORED, index["seed"], human), minlength=256)
    return {
        "samples": len(index),
        "index_sha256": save_index(derived.file(index_path(Path(name)).name), index),
        "of": shard_name,
        "pixels": {c: int(accepted[i]) for i, c in enumerate(CLASSES)} | {"rejected": int(accepted[IGNORED])},
        "seeds": {c: int(drawn[i]) for i, c in enumerate(CLASSES)} | {"not drawn": int(drawn[IGNORED])},
    }


def _drawing_class(classes: np.ndarray, corpus: Manifest) -> int:
    """Accepted class at the seed (the centre), else the majority of accepted px in the central 32 µm, else NO_SEED."""
    middle = classes.shape[0] // 2
    if classes[middle, middle] != IGNORED:
        return int(classes[middle, middle])
    field_um = corpus.views["high_mpp"] * corpus.views["store_px"]
    reach = max(1, round(_CENTRE_UM / 2 / field_um * classes.shape[0]))
    near = classes[middle - reach : middle + reach, middle - reach : middle + reach]
    near = near[near != IGNORED]
    return int(np.bincount(near).argmax()) if near.size else NO_SEED


def write_round(config: LearningConfig, step_index: int, run: Path, folder: Path) -> Path:
    """Prove that every shard of the train split is labelled, then publish the round's manifest. Raises map.Incomplete."""
    todo = units(config, step_index, run)
    corpus_path = shards_folder(run) / "manifest.json"
    corpus = read_manifest(corpus_path)
    entry_of = {shard.name: shard for shard in corpus.shards}
    entries = []
    for done in merge(todo, folder):
        (name, file), facts = next(iter(done.files.items())), done.facts
        source = entry_of[facts["of"]]
        if source.samples != facts["samples"]:
            raise RuntimeError(f"{name} labels {facts['samples']} samples of {source.samples} in {source.name}")
        entries.append(ShardEntry(name=name, slide=source.slide, split=source.split, **file, **facts))
    record = teacher_record(run, config.steps[step_index].name)
    manifest = Manifest(
        kind="labels",
        fingerprint=fingerprint([unit.inputs for unit in todo]),
        members=MEMBERS,
        classes=CLASSES,
        views=corpus.views,
        shards=tuple(entries),
        totals=totals(entries),
        parents={"corpus": sha256_file(corpus_path), "teacher": record["sha256"]},
        facts={
            "round": step_index + 1,
            "teacher": config.steps[step_index].name,
            "threshold": config.steps[step_index].label.threshold,
            "accepted": {c: sum(e.pixels[c] for e in entries) for c in CLASSES},
            "rejected": sum(e.pixels["rejected"] for e in entries),
            "drawn": {c: sum(e.seeds[c] for e in entries) for c in (*CLASSES, "not drawn")},
            "seeds": publish_seeds(folder, entries),
        },
    )
    path = folder / "manifest.json"
    write_manifest_file(folder, manifest)
    return path
