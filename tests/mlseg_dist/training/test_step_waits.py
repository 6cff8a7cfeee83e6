"""A training step never waits for the device: the host runs ahead of a GPU from one line of metrics.jsonl to the next."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.mlseg_dist.prepared_run import ONE_QUAD, prepare
from tests.mlseg_dist.ranks import rank_environments

ROOT = Path(__file__).parents[3]
TRAIN = {
    **ONE_QUAD,
    "micro_batches_per_step": 2,
    "epoch_draws": 48,
    "log_every": 100,
    "checkpoint_every": 100,
    "validations": 1,
    "ema": 0.9,
}
"""6 steps of two micro-batches; figures, validation and checkpoint come after the last."""
ENGINES: dict[str, dict[str, object]] = {
    "ddp": {"engine": "ddp"},
    "deepspeed": {},
    "zero1": {"zero": 1},
    "zero2": {"zero": 2},
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One process trains through all engines, as each start costs seconds."""
    folder = tmp_path_factory.mktemp("waits")
    prepared = prepare(folder / "prepared", TRAIN)
    runs = []
    for engine, settings in ENGINES.items():
        made = prepared.copy(folder / engine, **settings)
        (made.run / "config.json").write_text(made.config.model_dump_json())
        runs.append(made.run)
    command = [sys.executable, "-m", "tests.mlseg_dist.step_waits", folder / "out.json", *runs]
    environment = {**os.environ, **rank_environments(1)[0]}
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads((folder / "out.json").read_text())
    assert found["seen"] == 5, "the counter is blind"
    return found


@pytest.mark.parametrize("engine", [pytest.param(name, marks=pytest.mark.gpu) for name in ENGINES])
def test_a_step_waits_for_nothing(report: dict[str, Any], engine: str) -> None:
    """On a CPU the operators and calls that would wait are counted; on a GPU torch raises at a copy or an answer as well."""
    assert report["waits"][engine] == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine may have no GPU number 2")
def test_deepspeed_takes_the_gpu_that_we_chose(report: dict[str, Any]) -> None:
    assert report["local_rank"] == 2
