"""Checkpoints on real file systems: written beside training, whole or not there, and read only when they verify."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from mlseg_core.errors import EXIT_FAILED, exit_status
from mlseg_core.files import TEMPORARY, sha256_file
from mlseg_dist.events import Events, read_events
from mlseg_dist.training.checkpoint import Damaged, NotSaved, Saver, damage, load, newest
from mlseg_dist.training.checkpoint.leftovers import sweep, temporary_for

ROOT = Path(__file__).parents[2]
MB = 1 << 18
"""float32 of a MiB."""


def state_of(step, size=1000):
    """Every element says the step."""
    weights = torch.full((size,), float(step))
    return {"model": {"w": weights}, "optimizer": {"state": {0: {"m": weights + 0.5}}, "param_groups": [{"lr": 0.1}]}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def steps_in(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "checkpoints"


@pytest.fixture
def events(tmp_path):
    return Events(tmp_path)


def told(events, event):
    return [line for line in read_events(events.path.parent) if line["event"] == event]


def saved(folder, events, *steps, keep=9, **options):
    saver = Saver(folder, keep, None, events.tell, **options)
    for step in steps:
        saver.save(step, state_of(step), {"step": step})
    saver.wait()
    return saver


def test_what_was_saved_comes_back_bit_by_bit_and_laid_out_alike(folder, events):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    model(torch.randn(2, 3, 8, 8)).square().mean().backward()
    adam.step()
    state = {"model": model.state_dict(), "optimizer": adam.state_dict()}
    cursor = {"step": 7, "best": {"miou": 0.1 + 0.2}, "excluded": [3, 9]}
    saver = Saver(folder, 2, None, events.tell)
    saver.save(7, state, cursor)
    saver.wait()
    path = newest(folder, events.tell)
    assert path == folder / "step-00000007" and (folder / "LATEST").read_text() == path.name
    assert names(path) == ["META.json", "cursor.json", "model.pt", "optimizer.pt"]
    loaded, read = load(path)
    assert read == cursor and list(loaded) == ["model", "optimizer"]
    assert loaded["model"]._metadata == state["model"]._metadata
    for name, tensor in state["model"].items():
        assert torch.equal(loaded["model"][name], tensor) and loaded["model"][name].stride() == tensor.stride(), name
    other = torch.optim.Adam(model.parameters(), lr=1.0)
    other.load_state_dict(loaded["optimizer"])
    assert other.state_dict()["param_groups"] == state["optimizer"]["param_groups"]
    assert list(load(path, ["model"])[0]) == ["model"]
    with pytest.raises(Damaged, match=r"has no ema\.pt"):
        load(path, ["ema"])


def test_files_are_what_torch_save_writes_whether_waited_for_or_not(folder, events, tmp_path):
    torch.manual_seed(1)
    state = {"model": {"a": torch.randn(300, 500).t(), "b": torch.arange(5), "c": torch.tensor(2.0)}}
    saver = Saver(folder, 9, None, events.tell)
    for step in (1, 2, 3):  # 2 and 3 go into memory that is used again; 1 and 3 are waited for
        saver.save(step, state, {})
        if step != 2:
            saver.wait()
    with open(tmp_path / "expected", "wb") as file:
        torch.save(state["model"], file)
    hashes = {sha256_file(folder / f"step-0000000{step}" / "model.pt") for step in (1, 2, 3)}
    assert hashes == {sha256_file(tmp_path / "expected")}
    meta = json.loads((folder / "step-00000003" / "META.json").read_text())
    assert meta["files"]["model.pt"] == {"bytes": (tmp_path / "expected").stat().st_size, "sha256": hashes.pop()}


def test_a_save_returns_long_before_it_is_on_disk_and_what_comes_after_does_not_change_it(folder, events):
    weights, cursor = torch.zeros(96 * MB), {"step": 1, "excluded": [1]}
    saver = Saver(folder, 9, None, events.tell)
    saver.save(1, {"model": {"w": weights}}, cursor)
    weights.fill_(9)
    cursor["excluded"].append(2)
    assert steps_in(folder) == [] and damage(folder / "step-00000001") == "META.json is missing"
    saver.save(2, {"model": {"w": weights}}, cursor)
    waited, copied = saver.seconds["wait"], saver.seconds["copy"]
    assert steps_in(folder) == [1], "never two at a time"
    saver.wait()
    assert waited > copied > 0 and saver.seconds["write"] > 2 * copied, saver.seconds
    assert steps_in(folder) == [1, 2] and saver.bytes > 4 * 96 * MB
    (state, read), (later, _) = load(folder / "step-00000001"), load(folder / "step-00000002")
    assert not state["model"]["w"].any() and read["excluded"] == [1]
    assert (later["model"]["w"] == 9).all()


def test_a_disk_that_training_waits_for_is_told(folder, events):
    saver = Saver(folder, 9, None, events.tell)
    saver.slow_s = 0.01
    for step in (1, 2):
        saver.save(step, {"model": {"w": torch.zeros(32 * MB)}}, {})
    saver.slow_s = 30
    saver.wait()
    (line,) = told(events, "checkpoint-slow")
    assert line["level"] == "warning" and steps_in(folder) == [1, 2]


def test_shapes_may_change_between_saves(folder, events):
    saver = Saver(folder, 9, None, events.tell)
    states = [
        {"model": {"a": torch.ones(3), "b": torch.ones(2, 5)}},
        {"model": {"b": torch.full((5, 2), 2.0).t()}},
        {"model": {1: torch.ones(2), "1": torch.zeros(2), "c": torch.ones(4).to(torch.bfloat16)}},
    ]
    for step, state in enumerate(states):
        saver.save(step, state, {})
    saver.wait()
    for step, state in enumerate(states):
        loaded = load(folder / f"step-0000000{step}")[0]
        assert all(torch.equal(loaded["model"][name], x) for name, x in state["model"].items())
        assert [x.stride() for x in loaded["model"].values()] == [x.stride() for x in state["model"].values()]


@pytest.mark.parametrize(
    ("state", "error", "word"),
    [
        ({"model": {"x": np.float64(1)}}, TypeError, r"model\.x: .*numpy\.float64"),
        ({"model": {"x": [torch.eye(3).to_sparse()]}}, TypeError, r"model\.x\[0\]: .*sparse"),
        ({"model": {"x": torch.empty(1, device="meta")}}, TypeError, "meta"),
        ({"model": {(1, 2): 3}}, TypeError, "dict"),
        ({"../model": {}}, ValueError, "names"),
        ({}, ValueError, "names"),
    ],
)
def test_what_could_not_be_read_again_is_refused_at_the_first_save(folder, events, state, error, word):
    saver = Saver(folder, 2, None, events.tell)
    with pytest.raises(error, match=word):
        saver.save(1, state, {})
    saver.save(2, state_of(2), {})
    saver.wait()
    assert steps_in(folder) == [2]


def test_kept_are_the_newest_the_best_and_every_nth(folder, events):
    saver = Saver(folder, 2, 4, events.tell)
    seen = []
    for step in range(11):
        saver.save(step, state_of(step), {"step": step}, best=None if step < 1 else 1 if step < 6 else 6)
        saver.wait()
        seen.append(steps_in(folder))
    assert seen[:4] == [[0], [0, 1], [1, 2], [1, 2, 3]]
    assert seen[7:] == [[4, 6, 7], [4, 6, 7, 8], [4, 6, 8, 9], [4, 6, 8, 9, 10]]
    assert names(folder)[0] == "LATEST", "nothing half removed"
    assert load(folder / "step-00000006")[1] == {"step": 6}


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def forge(path, **changes):
    """META.json as of other content."""
    meta = json.loads((path / "META.json").read_text())
    (path / "META.json").write_text(json.dumps({**meta, **changes}))


def garbled_cursor(path):
    (path / "cursor.json").write_bytes(b'{"step": 3')
    files = json.loads((path / "META.json").read_text())["files"]
    forge(path, files={**files, "cursor.json": {"bytes": 10, "sha256": sha256_file(path / "cursor.json")}})


def file_elsewhere(path):
    """Of the right bytes, but not the checkpoint's."""
    files, latest = json.loads((path / "META.json").read_text())["files"], path.parent / "LATEST"
    forge(path, files={**files, "../LATEST": {"bytes": latest.stat().st_size, "sha256": sha256_file(latest)}})


def no_torch_file(path):
    """Hashes agree; what is hashed was never a state dict."""
    (path / "model.pt").write_bytes(b"x" * 10)
    files = json.loads((path / "META.json").read_text())["files"]
    forge(path, files={**files, "model.pt": {"bytes": 10, "sha256": sha256_file(path / "model.pt")}})


DAMAGE = {
    "truncated": (lambda path: os.truncate(path / "model.pt", 100), "model.pt has not the"),
    "empty": (lambda path: os.truncate(path / "optimizer.pt", 0), "optimizer.pt has not the"),
    "longer": (
        lambda path: os.truncate(path / "model.pt", (path / "model.pt").stat().st_size + 1),
        "model.pt has not the",
    ),
    "flipped": (lambda path: flip(path / "model.pt"), "model.pt has another sha256"),
    "cursor flipped": (lambda path: flip(path / "cursor.json"), "cursor.json has another sha256"),
    "cursor unreadable": (garbled_cursor, "cursor.json cannot be read"),
    "missing": (lambda path: (path / "optimizer.pt").unlink(), "optimizer.pt is missing"),
    "cursor missing": (lambda path: (path / "cursor.json").unlink(), "cursor.json is missing"),
    "renamed": (lambda path: (path / "model.pt").rename(path / "modeI.pt"), "model.pt is missing"),
    "swapped": (lambda path: shutil.copy(path / "optimizer.pt", path / "model.pt"), "model.pt has"),
    "a folder": (lambda path: [(path / "model.pt").unlink(), (path / "model.pt").mkdir()], "model.pt"),
    "META missing": (lambda path: (path / "META.json").unlink(), "META.json is missing"),
    "META truncated": (lambda path: os.truncate(path / "META.json", 50), "META.json cannot be read"),
    "META empty list": (lambda path: forge(path, files={}), "META.json is not the list"),
    "META of another shape": (lambda path: forge(path, files=[1]), "META.json cannot be read"),
    "META names a file elsewhere": (file_elsewhere, "META.json is not the list"),
    "META of another step": (lambda path: forge(path, step=2), "META.json is that of step 2"),
    "renamed folder's META": (lambda path: shutil.copy(path / "../step-00000002/META.json", path), "is that of step 2"),
    "empty folder": (lambda path: [file.unlink() for file in path.iterdir()], "META.json is missing"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_told_and_passed_over(folder, events, kind):
    saved(folder, events, 1, 2, 3)
    path = folder / "step-00000003"
    harm, word = DAMAGE[kind]
    harm(path)
    (folder / "LATEST").write_text("step-00000003")
    assert newest(folder, events.tell) == folder / "step-00000002"
    (line,) = told(events, "checkpoint-damaged")
    assert line["level"] == "error" and line["step"] == 3 and word in line["damage"] and line["damage"] in line["text"]
    with pytest.raises(Damaged):
        load(path)
    assert load(folder / "step-00000002")[1] == {"step": 2}


def test_bytes_that_torch_cannot_unpack_are_damage_too(folder, events):
    saved(folder, events, 1)
    no_torch_file(folder / "step-00000001")
    with pytest.raises(Damaged, match=r"model\.pt cannot be unpacked"):
        load(folder / "step-00000001")


def test_nothing_whole_is_none_and_each_is_told(folder, events):
    assert newest(folder, events.tell) is None and not told(events, "checkpoint-damaged")
    saved(folder, events, 1, 2)
    flip(folder / "step-00000001" / "model.pt")
    flip(folder / "step-00000002" / "model.pt")
    assert newest(folder, events.tell) is None
    assert [line["step"] for line in told(events, "checkpoint-damaged")] == [2, 1]


def test_newest_goes_by_number_up_to_a_step_and_never_by_latest(folder, events):
    saved(folder, events, 99_999_999, 100_000_000, 5)
    assert (folder / "LATEST").read_text() == "step-00000005"
    assert newest(folder, events.tell) == folder / "step-100000000"
    assert newest(folder, events.tell, below=99_999_999) == folder / "step-99999999"
    assert newest(folder, events.tell, below=98) == folder / "step-00000005"
    assert newest(folder, events.tell, below=4) is None


def test_a_damaged_one_is_not_counted_as_kept_and_goes_once_passed(folder, events):
    saved(folder, events, 10, 20, 27)
    flip(folder / "step-00000027" / "model.pt")
    saver = saved(folder, events, 30, keep=2, resumed=20)
    assert steps_in(folder) == [20, 30]
    saver.close()
    flip(folder / "step-00000030" / "model.pt")
    saved(folder, events, 30, keep=2, resumed=20)
    assert not damage(folder / "step-00000030"), "written again in the place of the damaged one"


def test_what_lies_there_whole_is_not_written_twice(folder, events):
    saved(folder, events, 1)
    before = (folder / "step-00000001").stat().st_ino
    saved(folder, events, 1)
    assert (folder / "step-00000001").stat().st_ino == before
    saver = Saver(folder, 2, None, events.tell)
    saver.save(1, state_of(1), {"step": 1, "excluded": [4]})
    saver.wait()
    assert load(folder / "step-00000001")[1] == {"step": 1, "excluded": [4]}
    assert names(folder) == ["LATEST", "step-00000001"]


def test_going_back_abandons_what_came_later(folder, events):
    saver = saved(folder, events, 10, 20, 30, keep=2)
    saver.rewind(20)
    assert newest(folder, events.tell) == folder / "step-00000020"
    saver.save(25, state_of(25), {"step": 25}, best=20)
    saver.wait()
    assert steps_in(folder) == [20, 25]


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a tmpfs of so many bytes; unmounted afterwards."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(size):
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"NOT TESTED on a full disk: a tmpfs cannot be mounted here: {done.stderr.strip()}")
        return place

    yield mount
    subprocess.run(["umount", "-l", place], capture_output=True)


def big(step):
    return state_of(step, size=MB // 2)


def test_a_full_disk_stops_nothing_and_harms_nothing(small_disk, events):
    """A checkpoint takes 1 MiB, the disk 3.5. Step 1 is kept as the best, and until another best is on disk."""
    disk = small_disk("3584k")
    folder = disk / "checkpoints"
    saver = Saver(folder, 2, None, events.tell)
    for step in (1, 2, 3):
        saver.save(step, big(step), {"step": step}, best=1)
    saver.wait()
    before = {path: sha256_file(path) for path in folder.rglob("*") if path.is_file()}
    for step in (4, 5):
        saver.save(step, big(step), {"step": step}, best=step)
        saver.join()
        assert saver.failed
        assert {path: sha256_file(path) for path in folder.rglob("*") if path.is_file()} == before, "and no temporaries"
        lines = told(events, "checkpoint-failed")
        assert len(lines) == step - 3 and lines[-1]["level"] == "error" and lines[-1]["steps"] == [step]
        assert "No space left" in lines[-1]["text"] and "free space there" in lines[-1]["text"]
        assert 0 < lines[-1]["free_bytes"] < 1 << 20
    with pytest.raises(NotSaved, match=r"step 5 is not on disk.*No space left") as raised:
        saver.wait(patience_s=0.5)
    assert exit_status(raised.value) == EXIT_FAILED and len(told(events, "checkpoint-failed")) == 2
    assert newest(folder, events.tell) == folder / "step-00000003" and load(folder / "step-00000003")[1] == {"step": 3}
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
    saver.wait()
    assert not saver.failed and len(told(events, "checkpoint-recovered")) == 1 and steps_in(folder) == [3, 5]
    assert torch.equal(load(folder / "step-00000005")[0]["model"]["w"], big(5)["model"]["w"])


def test_space_that_comes_back_while_it_waits_is_enough(small_disk, events):
    disk = small_disk("2m")
    (disk / "ballast").write_bytes(bytes(3 << 19))
    saver = Saver(disk / "checkpoints", 2, None, events.tell)
    saver.save(1, big(1), {"step": 1})
    remover = subprocess.Popen(["sh", "-c", 'sleep 1; rm "$0"', disk / "ballast"])
    saver.wait(patience_s=20)
    remover.wait()
    assert steps_in(disk / "checkpoints") == [1] and len(told(events, "checkpoint-failed")) == 1


def test_no_room_for_latest_is_no_failed_checkpoint(small_disk, events):
    """Files of a tmpfs take pages; the last page goes to META.json."""
    disk = small_disk("64k")
    (disk / "checkpoints").mkdir()
    saver = Saver(disk / "checkpoints", 2, None, events.tell)
    tiny = {"model": {"w": torch.zeros(3)}}
    saver.save(1, tiny, {})
    saver.wait()
    free = shutil.disk_usage(disk).free
    taken = sum(path.stat().st_blocks * 512 for path in (disk / "checkpoints" / "step-00000001").iterdir())
    (disk / "ballast").write_bytes(bytes(free - taken))
    saver.save(2, tiny, {})
    saver.wait()
    assert len(told(events, "checkpoint-latest")) == 1 and not told(events, "checkpoint-failed")
    assert newest(disk / "checkpoints", events.tell) == disk / "checkpoints" / "step-00000002"


def test_a_failed_best_is_written_before_the_newest_that_names_it(tmp_path, events):
    phase = tmp_path / "phase"
    saver = Saver(phase / "checkpoints", 2, None, events.tell)
    for step, best in ((1, None), (2, 2), (3, 2), (4, 2)):  # the phase's folder is not there
        saver.save(step, state_of(step), {"step": step}, best=best)
    saver.join()
    assert saver.failed and not phase.exists(), "not made again: its file system may be unmounted"
    lines = told(events, "checkpoint-failed")
    assert [line["steps"] for line in lines] == [[1], [2], [2, 3], [2, 4]]
    assert all("still mounted" in line["text"] for line in lines)
    phase.mkdir()
    saver.save(5, state_of(5), {"step": 5}, best=2)
    saver.wait()
    assert steps_in(phase / "checkpoints") == [2, 5] and not saver.failed
    written = [(phase / "checkpoints" / f"step-0000000{step}" / "META.json").stat().st_mtime_ns for step in (2, 5)]
    assert written == sorted(written)
    for step in (2, 5):
        assert (load(phase / "checkpoints" / f"step-0000000{step}")[0]["model"]["w"] == step).all()


def save_for_ever(folder, log):
    """The work of a killed process: `b N` before a save, `r N` when it has returned."""
    events = Events(Path(folder).parent)
    saver = Saver(Path(folder), 2, None, events.tell)
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
    context.set_forkserver_preload(["tests.mlseg_dist.test_checkpoint"])
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
    path = newest(folder, events.tell)
    assert path is not None and not told(events, "checkpoint-damaged")
    state, cursor = load(path)
    assert returned - 1 <= cursor["step"] <= begun
    assert (state["model"]["w"] == cursor["step"]).all() and len(state["model"]["w"]) == MB
    assert not cursor["best"] or not damage(folder / f"step-{cursor['best']:08d}"), "its teacher is beside it"
    saver = Saver(folder, 2, None, events.tell, resumed=cursor["step"])
    assert not [name for name in names(folder) if name.startswith(TEMPORARY) and not name.endswith("-LATEST")]
    saver.save(begun + 1, state_of(begun + 1), {})
    saver.wait()
    assert newest(folder, events.tell) == folder / f"step-{begun + 1:08d}"


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
        "folder = Path(sys.argv[1]); saver = Saver(folder, 2, None, Events(folder.parent).tell)\n"
        "saver.save(1, {'model': {'w': torch.ones(1 << 23)}}, {'step': 1})\n"
        "assert not (folder / 'step-00000001').exists()\n"
        "raise RuntimeError('loss')\n"
    )
    done = subprocess.run([sys.executable, "-c", script, folder], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "RuntimeError: loss" in done.stderr
    assert newest(folder, events.tell) == folder / "step-00000001"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_from_a_gpu_the_copy_is_of_the_moment_of_the_save(folder, events):
    weights = torch.zeros(64 * MB, device="cuda")
    saver = Saver(folder, 9, None, events.tell)
    for step in range(5):
        weights.fill_(step)
        saver.save(step, {"model": {"w": weights}}, {})
        weights.fill_(-1)
    saver.wait()
    for step in range(5):
        assert (load(folder / f"step-0000000{step}")[0]["model"]["w"] == step).all()
