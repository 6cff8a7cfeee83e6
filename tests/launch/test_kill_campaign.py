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


def finished_phases(folder: Path) -> int:
    return len(list((folder / "runs" / "tiny").glob("phases/*/done.json")))


def kill_after(planner: subprocess.Popen[bytes], folder: Path, phases: int, delay: float) -> None:
    """Kills the planner and its jobs `delay` seconds after that many phases are finished. Progress decides, not the
    clock: an idle machine runs the same campaign three times as fast as a busy one."""
    deadline = time.monotonic() + 600
    while finished_phases(folder) < phases:
        assert planner.poll() is None, f"ended by itself with {finished_phases(folder)} phases finished"
        assert time.monotonic() < deadline, f"{finished_phases(folder)} of {phases} phases finished after 600 s"
        time.sleep(0.02)
    time.sleep(delay)
    assert planner.poll() is None, f"ended by itself within {delay:.1f} s of phase {phases}"
    os.killpg(planner.pid, signal.SIGKILL)
    planner.wait()


@pytest.mark.long(short="tests/mlseg_dist/training/test_training.py::test_killed_and_resumed_ends_bitwise_the_same")
def test_killed_again_and_again_it_ends_with_the_same_metrics(tmp_path: Path, make_campaign) -> None:
    whole, killed = make_campaign("whole", styled=True), make_campaign("killed", styled=True)
    assert start(whole).wait(600) == 0
    phases = finished_phases(tmp_path / "whole")
    seeded = random.Random(0)
    for finished in sorted(seeded.sample(range(phases - 2), KILLS)):  # the last two phases are too short to be hit
        kill_after(start(killed), tmp_path / "killed", finished, seeded.uniform(0.2, 1.0))
    assert start(killed).wait(600) == 0
    assert results(tmp_path / "killed") == results(tmp_path / "whole")
    assert all(results(tmp_path / "whole").values()), "each of them is there"
    print(f"killed {KILLS} times in a campaign of {phases} phases, same metrics, labels and weights")
