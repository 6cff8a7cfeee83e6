"""The map's work: one shard of the train split -> its sidecar shard.

Batches never span shards, so a sidecar's bytes depend on the teacher, the shard, the config (on a CPU `train.threads` too) and
the kind of device only; on a GPU without `train.deterministic` also, in the last bits of a probability, on the algorithms that
cuDNN found fastest.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_core.files import fingerprint
from mlseg_dist.config import LabelConfig, LearningConfig
from mlseg_dist.data.labels import Accepting, codes_of_views
from mlseg_dist.data.prefetch import threads_for
from mlseg_dist.device import device_kind
from mlseg_dist.inference import Predictor
from mlseg_dist.labelling.adapting import kept_teachers
from mlseg_dist.labelling.loading import InThreads, Loader, OnDali
from mlseg_dist.labelling.pipeline import overlapped
from mlseg_dist.labelling.reliability import reliability_of
from mlseg_dist.labelling.thresholds import settle
from mlseg_dist.run_folder import phase_folder, shards_folder, teacher_record
from shards.manifest import Manifest, kept_manifest
from shards.outside import Outside
from shards.sample import encode_json, encode_png
from shards.tar import ShardReader, write_shard

RECIPE = 4  # raise it when the same inputs give other bytes
MEMBERS = ("high.png", "json", "low.png")


def units(config: LearningConfig, step_index: int, run: Path) -> list[Unit]:
    """One unit a shard of the train split. step_index: of the teacher. Raises UserError, also for a teacher below `min_miou`."""
    step = config.steps[step_index]
    corpus = kept_manifest(shards_folder(run) / "manifest.json")
    record = teacher_record(run, step.name)
    if step.label.min_miou and not record["miou"] >= step.label.min_miou:
        raise UserError(
            f"teacher {step.name} has a validation mIoU of {record['miou']:.3f}, less than {step.label.min_miou:g}: "
            "it is not to label",
            phase_folder(run, step.name),
            f"Train it longer, or go on with: mlseg resume RUN steps.{step.name}.label.min_miou=0",
        )
    inputs = {
        "recipe": RECIPE,
        "teacher": record["sha256"],
        "label": step.label.decides(),
        "precision": config.train.precision,
        "classes": config.training_classes,
    }
    made = []
    inside = {slide.slug: slide.inside for slide in corpus.slides}
    for shard in corpus.of_splits("train"):
        known = inside.get(shard.slide)
        borders = {} if known is None else {"inside": known.model_dump()}
        key = fingerprint({**inputs, **borders, "shard": shard.sha256})
        stem = shard.name.removesuffix(".tar")
        payload = (config, step_index, run, shard.name, f"{stem}-{key[:8]}.tar", shard.slide)
        made.append(Unit(stem, key, payload, cost=shard.samples))
    return made


def prepare(config: LearningConfig, step_index: int, run: Path) -> None:
    """Load the teacher and the decoder, which every shard needs, and settle what is accepted. Raises UserError, BadPair."""
    teachers, corpus = kept_teachers(config, step_index, run), kept_manifest(shards_folder(run) / "manifest.json")
    if config.steps[step_index].label.measured_pairs:
        reliability_of(config, step_index, run, lambda: teachers)
    _loader(corpus, config.steps[step_index].label, teachers.of("").device, threads_for(config.train.workers))


def label(unit: Unit, scratch: Scratch) -> None:
    """Label one shard. Raises BadShard for a damaged sample."""
    config, step_index, run, shard_name, name, slide = unit.payload
    teachers = kept_teachers(config, step_index, run)
    corpus = kept_manifest(shards_folder(run) / "manifest.json")
    teacher = teachers.of(teachers.domain(slide))
    with ShardReader(shards_folder(run) / shard_name, corpus.members) as shard:
        samples = sidecars(config, step_index, shard, teacher, corpus, accepting_of(config, step_index, run), scratch)
        write_shard(scratch.open(name), samples)


def accepting_of(config: LearningConfig, step_index: int, run: Path) -> Accepting:
    """Which labels of a round are accepted. Raises UserError, BadPair."""
    settings = config.steps[step_index].label
    if settings.choose == "fixed" and settings.on_harm != "leave-out":
        return Accepting.from_settings(settings)
    return settle(settings, reliability_of(config, step_index, run, lambda: kept_teachers(config, step_index, run)))[0]


_decoders: dict[tuple[int, int], OnDali] = {}


def _loader(corpus: Manifest, settings: LabelConfig, device: torch.device, threads: int) -> Loader:
    """As the settings want it; DALI's is made once a process. Raises UserError."""
    side = round(corpus.views["store_px"])
    if settings.decode_on == "cpu":
        return InThreads(side, pinned=device.type == "cuda")
    if (side, settings.batch) not in _decoders:
        _decoders.clear()
        _decoders[side, settings.batch] = OnDali(side, settings.batch, device.index or 0, threads)
    return _decoders[side, settings.batch]


def sidecars(
    config: LearningConfig,
    step_index: int,
    shard: ShardReader,
    teacher: Predictor,
    corpus: Manifest,
    accepting: Accepting,
    scratch: Scratch | None = None,
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(KEY, members) of every sample of the shard, in its order. scratch: hears of progress."""
    settings = config.steps[step_index].label
    device = device_kind(teacher.device)
    accepted = accepting.table("high")
    outside = Outside(corpus)

    def finish(row: int, codes: dict[str, np.ndarray]) -> tuple[str, dict[str, bytes]]:
        off = outside.of_row(shard, row, settings.stride)
        high, low = codes_of_views(codes, corpus.ratio, accepted, off)
        info = {"version": 1, "of": shard.key(row), "device": device}
        return shard.key(row), {"high.png": encode_png(high), "low.png": encode_png(low), "json": encode_json(info)}

    threads = threads_for(config.train.workers)
    loader = _loader(corpus, settings, teacher.device, threads)
    for part in overlapped(shard, loader, teacher, settings.batch, settings.stride, threads, finish):
        yield from part
        if scratch is not None:
            scratch.advance(len(part))
