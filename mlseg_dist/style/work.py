"""The map's work: one shard of the train split, in one target's style -> a sidecar shard with the same keys in the same order.

Batches never span shards, so a sidecar's bytes depend on the generator, the shard, the config (on a CPU `threads` too) and the
kind of device only.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mlseg_core.exactly_once.run import Scratch, Unit
from mlseg_core.files import fingerprint
from mlseg_dist.config import LearningConfig
from mlseg_dist.data.prefetch import Workers, threads_for
from mlseg_dist.data.styled import MEMBERS
from mlseg_dist.device import device_kind, settle_cpu
from mlseg_dist.labelling.loading import Batch, InThreads
from mlseg_dist.labelling.pipeline import Answers, through
from mlseg_dist.style.config import StyleConfig
from mlseg_dist.style.network import VIEWS
from mlseg_dist.style.pairs import StylePair, pairs_of, plain, styles, wanted
from mlseg_dist.style.stylist import Stylist, generator_record
from shards.manifest import kept_manifest
from shards.sample import encode_jpeg, encode_json
from shards.tar import ShardReader, write_shard

RECIPE = 2
"""Raise it when the same inputs give other bytes."""


@dataclass(frozen=True)
class Job:
    """out: the folder that holds `generators` and `styled`. name: of the sidecar. threads: of torch on a CPU."""

    config: StyleConfig
    seed: int
    bf16: bool
    threads: int
    workers: Workers
    shards: Path
    out: Path
    pair: StylePair
    generator: str
    shard: str
    name: str


def units(
    config: StyleConfig,
    shards: Path,
    out: Path,
    seed: int,
    *,
    bf16: bool = False,
    threads: int = 1,
    workers: Workers = 1,
) -> list[Unit]:
    """One unit for each (shard of the train split, target). Raises UserError."""
    manifest = kept_manifest(shards / "manifest.json")
    of_style, made = styles(manifest, config.by), []
    how = {"recipe": RECIPE, "seed": seed, "bf16": bf16, **config.model_dump(include={"apply_batch", "jpeg_quality"})}
    pairs = wanted(config, manifest)
    generators = {pair: generator_record(out, pair)["sha256"] for pair in pairs}
    for own, shard in ((own, shard) for own, part in of_style.items() for shard in part):
        of_source = [pair for pair in pairs if pair.source == own]
        for pair in pairs_of(shard.name, of_source, config.targets_per_shard):
            generator = generators[pair]
            key = fingerprint([how, generator, pair.source, pair.target, shard.sha256])
            unit = f"{shard.name.removesuffix('.tar')}-as-{plain(pair.target)}"
            name = f"{unit}-{key[:8]}.tar"
            job = Job(config, seed, bf16, threads, workers, shards, out, pair, generator, shard.name, name)
            made.append(Unit(unit, key, job, cost=shard.samples))
    return sorted(made, key=lambda unit: unit.name)


def units_of(config: LearningConfig, shards: Path, out: Path, processes: int = 1) -> list[Unit]:
    """Those of a campaign. processes: of this machine that will share its CPUs, if the caller starts some. Raises UserError."""
    train, bf16 = config.train, config.train.precision == "bf16"
    workers = train.workers
    if workers == "auto" and processes > 1:
        workers = max(1, threads_for(workers) // processes)
    return units(config.style, shards, out, config.seed, bf16=bf16, threads=train.threads or 1, workers=workers)


def style(unit: Unit, scratch: Scratch) -> None:
    """Style one shard. Raises BadShard for a damaged sample."""
    job: Job = unit.payload
    stylist = _stylist(job)
    manifest = kept_manifest(job.shards / "manifest.json")
    with ShardReader(job.shards / job.shard, manifest.members) as shard:
        write_shard(scratch.open(job.name), sidecars(job, shard, stylist, round(manifest.views["store_px"]), scratch))


_loaded: dict[str, Stylist] = {}


def _stylist(job: Job) -> Stylist:
    """Loaded once a process, by the hash of its weights; only the last one is kept."""
    if job.generator not in _loaded:
        cv2.setNumThreads(1)  # threads share out samples, not the rows of one
        settle_cpu(job.threads)
        _loaded.clear()
        _loaded[job.generator] = Stylist(job.out, job.pair, job.seed, job.bf16)
    return _loaded[job.generator]


def sidecars(
    job: Job, shard: ShardReader, stylist: Stylist, side: int, scratch: Scratch
) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(KEY, members) of every sample of the shard, in its order."""
    device = device_kind(stylist.device)

    def compute(batch: Batch) -> Answers:
        return Answers(batch, stylist.style(*batch.views(), [shard.key(row) for row in batch.rows]))

    def finish(row: int, made: dict[str, np.ndarray]) -> tuple[str, dict[str, bytes]]:
        info = {
            "version": 1,
            "of": shard.key(row),
            "source": job.pair.source,
            "target": job.pair.target,
            "generator": job.generator,
            "ssim": {view: round(float(made[f"{view} ssim"]), 3) for view in VIEWS},
            "device": device,
        }
        images = {f"{view}.jpg": encode_jpeg(made[view], job.config.jpeg_quality) for view in VIEWS}
        return shard.key(row), {**images, "json": encode_json(info)}

    loader = InThreads(side, pinned=stylist.device.type == "cuda")
    for part in through(shard, loader, job.config.apply_batch, threads_for(job.workers), compute, finish):
        yield from part
        scratch.advance(len(part))


def describe(unit: Unit, files: dict[str, Path], derived: Scratch) -> dict[str, Any]:
    """Least and mean SSIM of a published sidecar. Raises RuntimeError unless its keys are those of its shard, in order."""
    job: Job = unit.payload
    members = kept_manifest(job.shards / "manifest.json").members
    with (
        ShardReader(files[job.name], MEMBERS, derived.winners.get(job.name)) as made,
        ShardReader(job.shards / job.shard, members) as shard,
    ):
        if not np.array_equal(made.index["key"], shard.index["key"]):
            raise RuntimeError(f"{files[job.name]} does not hold the keys of {job.shard}, each once, in order")
        said = [json.loads(made.read_member(row, MEMBERS.index("json"))) for row in range(len(made))]
        index_sha256 = made.index_sha256
    kept = [one["ssim"][view] for one in said for view in VIEWS]
    return {
        "samples": len(said),
        "index_sha256": index_sha256,
        "of": job.shard,
        "source": job.pair.source,
        "target": job.pair.target,
        "ssim": {"mean": round(float(np.mean(kept)), 4), "least": float(np.min(kept))},
        "device": said[0]["device"],
    }
