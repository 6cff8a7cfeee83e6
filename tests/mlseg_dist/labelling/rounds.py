"""Runs whose rounds of labels can be made, and workers in processes of their own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import read_json, sha256_file, write_json
from mlseg_dist import labelling
from mlseg_dist.config import LearningConfig
from mlseg_dist.inference import normalise
from mlseg_dist.model import build_model
from mlseg_dist.run_folder import phase_folder, shards_folder
from shards.sample import decode_rgb
from shards.tar import ShardReader
from tests.mlseg_dist.tiny_run import TinyRun, tiny_run

THRESHOLD = 0.5


def lively_run(folder: Path, **given: Any) -> TinyRun:
    """A tiny run whose teachers answer unlike things to unlike pixels: norms know the data, the last layers are loud.

    given: to tiny_run.
    """
    run = tiny_run(folder, **given)
    entry = run.manifest.of_splits("train")[0]
    with ShardReader(shards_folder(run.path) / entry.name, run.manifest.members) as shard:
        pairs = [shard.read(row) for row in range(0, len(shard), 4)]
    views = [torch.from_numpy(np.stack([decode_rgb(pair[f"{v}.jpg"]) for pair in pairs])) for v in ("high", "low")]
    for number, step in enumerate(run.config.steps):
        phase = phase_folder(run.path, step.name)
        model = build_model(step.model, 4, 1.0, seed=number).train()
        with torch.no_grad():
            model(*(normalise(view) for view in views))
            for name, weights in model.named_parameters():
                if "head" in name and name.endswith("weight"):
                    weights *= 6
        torch.save(model.state_dict(), phase / "teacher.pt")
        write_json(
            phase / "teacher.json", {**read_json(phase / "teacher.json"), "sha256": sha256_file(phase / "teacher.pt")}
        )
    return run


def with_label(config: LearningConfig, step: int = 0, workers: int = 1, **changes: object) -> LearningConfig:
    """Settings of a step's labelling. A third to a half of what lively_run's teachers say is accepted."""
    steps = list(config.steps)
    label = steps[step].label.model_copy(update={"threshold": THRESHOLD, "batch": 5, "min_share_kept": 0.0} | changes)
    steps[step] = steps[step].model_copy(update={"label": label})
    train = config.train.model_copy(update={"workers": workers, "threads": 1})
    return config.model_copy(update={"steps": tuple(steps), "train": train})


def make(run: TinyRun, config: LearningConfig, folder: Path, step: int = 0) -> dict[str, str]:
    """Label and merge; returns name -> sha256 of the tars."""
    failed = run_units(labelling.units(config, step, run.path), labelling.label, folder, describe=labelling.describe)
    assert not failed, failed
    labelling.write_round(config, step, run.path, folder)
    return digests(folder)


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.glob("[!.]*.tar"))}


def worker(run: TinyRun, config: LearningConfig, folder: Path, before_publish: str = "") -> "subprocess.Popen[bytes]":
    """A process that labels round 1. before_publish: a statement that it runs between writing a shard and publishing it."""
    code = f"""
import os, signal, time, pathlib
from mlseg_core.exactly_once import run as core
from mlseg_core.store import Folder
from mlseg_core.exactly_once.run import run_units
from mlseg_dist import labelling
from mlseg_dist.config import LearningConfig
publish = Folder.publish_first
def publish_first(self, temporary, name, *file):
    folder = pathlib.Path({str(folder)!r})
    {before_publish or "pass"}
    return publish(self, temporary, name, *file)
Folder.publish_first = publish_first
config = LearningConfig.model_validate_json({config.model_dump_json()!r})
units = labelling.units(config, 0, pathlib.Path({str(run.path)!r}))
assert not run_units(units, labelling.label, {str(folder)!r}, describe=labelling.describe)
"""
    root = Path(__file__).parents[3]
    return subprocess.Popen([sys.executable, "-c", code], cwd=root, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
