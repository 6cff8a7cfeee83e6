"""kill -9 of the whole process group at seeded moments, start again, until done: the figures, labels and weights of an
uninterrupted campaign."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlseg_core.files import sha256_file

SETTINGS = (
    "steps.base.epochs=1",
    "steps.master-1.epochs=1",
    "train.checkpoint_every=2",
)
KILLS = 4


def start(config: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "launch.cli", "run", config, *SETTINGS]
    return subprocess.Popen([str(word) for word in command], start_new_session=True, stdout=subprocess.DEVNULL)


def results(folder: Path) -> dict[str, object]:
    run = folder / "runs" / "tiny"
    teachers = [json.loads(path.read_text()) for path in sorted(run.glob("phases/*/teacher.json"))]
    return {
        "metrics": json.loads((run / "report" / "metrics.json").read_text()),
        "teachers": [(teacher["sha256"], teacher["step"], teacher["miou"]) for teacher in teachers],
        "labels": {path.name: sha256_file(path) for path in run.glob("data/labels-*/*.tar")},
        "styled": {path.name: sha256_file(path) for path in run.glob("data/styled/*.tar")},
        "shards": {path.name: sha256_file(path) for path in run.glob("data/shards/*.tar")},
    }


@pytest.mark.slow
def test_killed_again_and_again_it_ends_with_the_same_metrics(tmp_path: Path, make_campaign) -> None:
    whole, killed = make_campaign("whole", styled=True), make_campaign("killed", styled=True)
    begun = time.monotonic()
    assert start(whole).wait(600) == 0
    took = time.monotonic() - begun
    moments = [random.Random(kill).uniform(0.1, 0.6) * took for kill in range(KILLS)]
    survived = 0
    for moment in moments:
        planner = start(killed)
        try:
            assert planner.wait(moment) == 0
            break  # it was faster than the killer
        except subprocess.TimeoutExpired:
            os.killpg(planner.pid, signal.SIGKILL)
            planner.wait()
            survived += 1
    assert survived >= 2, f"killed at {moments} s of {took:.0f} s"
    assert start(killed).wait(600) == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert all(results(tmp_path / "whole").values()), "each of them is there"
    print(f"killed {survived} times in a campaign of {took:.0f} s, same metrics, labels and weights")
