"""Killed at any moment, one of the last two is whole; left-overs go."""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlseg_core.files import TEMPORARY
from mlseg_dist.events import Events
from mlseg_dist.training.checkpoint import Saver, damage, load, newest
from mlseg_dist.training.checkpoint.leftovers import sweep, temporary_for
from tests.mlseg_dist.training.checkpoint.saves import MB, names, state_of, told

ROOT = Path(__file__).parents[4]


def save_for_ever(folder, log):
    """The work of a killed process: `b N` before a save, `r N` when it has returned."""
    events = Events(Path(folder).parent)
    saver = Saver(Path(folder), 2, None, events.log)
    with open(log, "a", buffering=1) as file:
        for step in range(1, 10_000):
            file.write(f"b {step}\n")
            best = step - step % 3 or None
            saver.save(step, state_of(step, size=MB), {"step": step, "best": best}, best=best)
            file.write(f"r {step}\n")
            time.sleep(0.002)


@pytest.fixture(scope="module")
def forks():
    """Processes that have imported torch already."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.mlseg_dist.training.checkpoint.test_killed"])
    return context


@pytest.mark.parametrize("seed", range(10))
def test_killed_at_any_moment_one_of_the_last_two_is_whole(tmp_path, events, forks, seed):
    folder, log = tmp_path / "checkpoints", tmp_path / "log"
    process = forks.Process(target=save_for_ever, args=(str(folder), str(log)))
    process.start()
    until = time.monotonic() + 60
    while not (log.exists() and "r 3" in log.read_text()):
        assert time.monotonic() < until and process.is_alive()
        time.sleep(0.005)
    time.sleep(random.Random(seed).uniform(0, 0.2))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    lines = [line.split() for line in log.read_text().splitlines()]
    begun, returned = (max(int(step) for mark, step in lines if mark == which) for which in "br")
    path = newest(folder, events.log)
    assert path is not None and not told(events, "checkpoint-damaged")
    state, cursor = load(path)
    assert returned - 1 <= cursor["step"] <= begun
    assert (state["model"]["w"] == cursor["step"]).all() and len(state["model"]["w"]) == MB
    assert not cursor["best"] or not damage(folder / f"step-{cursor['best']:08d}"), "its teacher is beside it"
    saver = Saver(folder, 2, None, events.log, resumed=cursor["step"])
    assert not [name for name in names(folder) if name.startswith(TEMPORARY) and not name.endswith("-LATEST")]
    saver.save(begun + 1, state_of(begun + 1), {})
    saver.wait()
    assert newest(folder, events.log) == folder / f"step-{begun + 1:08d}"


def test_left_overs_go_when_their_writer_is_surely_gone(folder, forks):
    folder.mkdir()
    process = forks.Process(target=leave_one, args=(str(folder),))
    process.start()
    process.join()
    mine, sleeper = temporary_for(folder / "step-00000002"), subprocess.Popen(["sleep", "60"])
    mine.mkdir()
    (dead,) = (path for path in folder.iterdir() if path != mine)
    _, machine, _, start, rest = dead.name.split("-", 4)
    reused = (
        folder / f"{TEMPORARY}{machine}-{sleeper.pid}-{int(start) - 1}-{rest}"
    )  # the number lives on, the process does not
    elsewhere, long_ago = folder / f"{TEMPORARY}00000000-1-1-{rest}", folder / f"{TEMPORARY}00000000-2-1-{rest}"
    for path in (reused, elsewhere, long_ago):
        path.mkdir()
        (path / "model.pt").write_bytes(b"x")
    old_style = folder / f"{TEMPORARY}77-0a0b0c0d-LATEST"
    old_style.write_text("step-00000001")
    day_ago = time.time() - 90_000
    for path in (long_ago / "model.pt", long_ago, old_style):
        os.utime(path, (day_ago, day_ago))
    os.utime(elsewhere, (day_ago, day_ago))  # but a file in it is young
    assert sorted(sweep(folder)) == sorted(path.name for path in (dead, reused, long_ago, old_style))
    sleeper.kill()
    sleeper.wait()
    assert sorted(folder.iterdir()) == sorted([mine, elsewhere])


def leave_one(folder):
    temporary = temporary_for(Path(folder) / "step-00000001")
    temporary.mkdir()
    (temporary / "model.pt").write_bytes(b"half")


def test_training_that_ends_with_an_error_still_has_its_last_save_written(folder, events):
    script = (
        "import sys, torch; from pathlib import Path\n"
        "from mlseg_dist.events import Events; from mlseg_dist.training.checkpoint import Saver\n"
        "folder = Path(sys.argv[1]); saver = Saver(folder, 2, None, Events(folder.parent).log)\n"
        "saver.save(1, {'model': {'w': torch.ones(1 << 23)}}, {'step': 1})\n"
        "assert not (folder / 'step-00000001').exists()\n"
        "raise RuntimeError('loss')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "RuntimeError: loss" in done.stderr
    assert newest(folder, events.log) == folder / "step-00000001"
