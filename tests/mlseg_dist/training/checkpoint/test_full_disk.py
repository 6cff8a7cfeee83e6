"""A disk that is full or away stops nothing and harms nothing."""

import shutil
import subprocess

import pytest
import torch

from mlseg_core.errors import EXIT_USER_ERROR, exit_status
from mlseg_core.files import sha256_file
from mlseg_dist.training.checkpoint import NotSaved, Saver, load, newest
from tests.mlseg_dist.training.checkpoint.saves import MB, state_of, steps_in, told


def big(step):
    return state_of(step, size=MB // 2)


def test_a_full_disk_stops_nothing_and_harms_nothing(small_disk, events):
    """A checkpoint takes 1 MiB, the disk 3.5. Step 1 is kept as the best, and until another best is on disk."""
    disk = small_disk("3584k")
    folder = disk / "checkpoints"
    saver = Saver(folder, 2, None, events.log)
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
    assert exit_status(raised.value) == EXIT_USER_ERROR and len(told(events, "checkpoint-failed")) == 2
    assert newest(folder, events.log) == folder / "step-00000003" and load(folder / "step-00000003")[1] == {"step": 3}
    subprocess.run(["mount", "-o", "remount,size=8m", disk], check=True)
    saver.wait()
    assert not saver.failed and len(told(events, "checkpoint-recovered")) == 1 and steps_in(folder) == [3, 5]
    assert torch.equal(load(folder / "step-00000005")[0]["model"]["w"], big(5)["model"]["w"])


def test_space_that_comes_back_while_it_waits_is_enough(small_disk, events):
    disk = small_disk("2m")
    (disk / "ballast").write_bytes(bytes(3 << 19))
    saver = Saver(disk / "checkpoints", 2, None, events.log)
    saver.save(1, big(1), {"step": 1})
    remover = subprocess.Popen(["sh", "-c", 'sleep 1; rm "$0"', disk / "ballast"])
    saver.wait(patience_s=20)
    remover.wait()
    assert steps_in(disk / "checkpoints") == [1] and len(told(events, "checkpoint-failed")) == 1


def test_no_room_for_latest_is_no_failed_checkpoint(small_disk, events):
    """Files of a tmpfs take pages; the last page goes to META.json."""
    disk = small_disk("64k")
    (disk / "checkpoints").mkdir()
    saver = Saver(disk / "checkpoints", 2, None, events.log)
    tiny = {"model": {"w": torch.zeros(3)}}
    saver.save(1, tiny, {})
    saver.wait()
    free = shutil.disk_usage(disk).free
    taken = sum(path.stat().st_blocks * 512 for path in (disk / "checkpoints" / "step-00000001").iterdir())
    (disk / "ballast").write_bytes(bytes(free - taken))
    saver.save(2, tiny, {})
    saver.wait()
    assert len(told(events, "checkpoint-latest")) == 1 and not told(events, "checkpoint-failed")
    assert newest(disk / "checkpoints", events.log) == disk / "checkpoints" / "step-00000002"


def test_a_failed_best_is_written_before_the_newest_that_names_it(tmp_path, events):
    phase = tmp_path / "phase"
    saver = Saver(phase / "checkpoints", 2, None, events.log)
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
