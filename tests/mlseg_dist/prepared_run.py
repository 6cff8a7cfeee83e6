"""A run folder whose second step, an m-UNet over human and predicted labels, is ready to be trained; made once, then copied."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from mlseg_core.config import validate
from mlseg_core.exactly_once.run import run_units
from mlseg_dist import labelling
from mlseg_dist.config import LearningConfig
from mlseg_dist.run_folder import labels_folder, phase_folder
from tests.mlseg_dist.tiny_run import tiny_run

STEP = 1
ONE_QUAD = {"patch_px": 32, "precision": "fp32", "workers": 1, "threads": 1, "quads_per_micro_batch": 1}
"""Settings of training that a test's steps take milliseconds with."""
TIMED = {"time", "pairs_s", "data_wait", "step_ms", "tflops", "eta_s"}


@dataclass(frozen=True)
class Prepared:
    """run: the folder. config: of the campaign in it."""

    run: Path
    config: LearningConfig

    @property
    def phase(self) -> Path:
        return phase_folder(self.run, self.config.steps[STEP].name)

    def copy(self, folder: Path, **train: Any) -> "Prepared":
        """Another run that has come as far. train: changed settings of training."""
        shutil.copytree(self.run, folder / "run")
        return Prepared(folder / "run", with_train(self.config, **train))


def with_train(config: LearningConfig, **changes: Any) -> LearningConfig:
    raw = config.model_dump(mode="json")
    return validate({**raw, "train": {**raw["train"], **changes}}, LearningConfig, "test")


def prepare(folder: Path, train: dict[str, Any]) -> Prepared:
    """The base step has a teacher with random weights, which has labelled the train split. train: settings of training."""
    run = tiny_run(folder, train=train, tracking={"enabled": False})
    raw = run.config.model_dump(mode="json")
    raw["steps"][0]["label"] |= {
        "threshold": 0.0,
        "min_share_kept": 0.0,
    }  # a random teacher is never sure, and sees one class
    raw["steps"][STEP]["model"]["encoder"]["drop_connect"] = 0.2
    config = validate(raw, LearningConfig, "test")
    units = labelling.units(config, 0, run.path)
    assert not run_units(units, labelling.label, labels_folder(run.path, 1), describe=labelling.describe)
    labelling.write_round(config, 0, run.path, labels_folder(run.path, 1))
    prepared = Prepared(run.path, config)
    phase = prepared.phase
    shutil.rmtree(phase)
    phase.mkdir()
    return prepared


def figures(phase: Path) -> list[dict[str, Any]]:
    """Lines of metrics.jsonl without what depends on the clock."""
    lines = (phase / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines]


def same(mine: Any, theirs: Any, where: str) -> None:
    """Trees of tensors and plain values are equal, bit by bit."""
    if isinstance(theirs, dict):
        assert mine.keys() == theirs.keys(), where
        for key in theirs:
            same(mine[key], theirs[key], f"{where}/{key}")
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(mine, theirs), where
    else:
        assert mine == theirs, where
