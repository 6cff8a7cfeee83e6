"""Only what verifies is read: damage is found, told and passed over."""

import json
import os
import shutil

import pytest

from mlseg_core.files import sha256_file
from mlseg_dist.training.checkpoint import Damaged, Saver, damage, load, newest
from tests.mlseg_dist.training.checkpoint.saves import names, saved, state_of, steps_in, told


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


def drop(path, name, instead=None):
    """META.json without a file, which would be left out of what is read; or with another name for it."""
    files = json.loads((path / "META.json").read_text())["files"]
    entry = files.pop(name)
    forge(path, files=files if instead is None else {**files, instead: entry})


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
    "flipped": (lambda path: flip(path / "model.pt"), "sha256 mismatch: model.pt"),
    "cursor flipped": (lambda path: flip(path / "cursor.json"), "sha256 mismatch: cursor.json"),
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
    "META has lost a file": (lambda path: drop(path, "optimizer.pt"), "META.json is not the list"),
    "META with a flipped name": (lambda path: drop(path, "optimizer.pt", "optimizer.pu"), "META.json is not the list"),
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
    assert newest(folder, events.log) == folder / "step-00000002"
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
    assert newest(folder, events.log) is None and not told(events, "checkpoint-damaged")
    saved(folder, events, 1, 2)
    flip(folder / "step-00000001" / "model.pt")
    flip(folder / "step-00000002" / "model.pt")
    assert newest(folder, events.log) is None
    assert [line["step"] for line in told(events, "checkpoint-damaged")] == [2, 1]


def test_newest_goes_by_number_up_to_a_step_and_never_by_latest(folder, events):
    saved(folder, events, 99_999_999, 100_000_000, 5)
    assert (folder / "LATEST").read_text() == "step-00000005"
    assert newest(folder, events.log) == folder / "step-100000000"
    assert newest(folder, events.log, below=99_999_999) == folder / "step-99999999"
    assert newest(folder, events.log, below=98) == folder / "step-00000005"
    assert newest(folder, events.log, below=4) is None


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
    saver = Saver(folder, 2, None, events.log)
    saver.save(1, state_of(1), {"step": 1, "excluded": [4]})
    saver.wait()
    assert load(folder / "step-00000001")[1] == {"step": 1, "excluded": [4]}
    assert names(folder) == ["LATEST", "step-00000001"]


def test_going_back_abandons_what_came_later(folder, events):
    saver = saved(folder, events, 10, 20, 30, keep=2)
    saver.rewind(20)
    assert newest(folder, events.log) == folder / "step-00000020"
    saver.save(25, state_of(25), {"step": 25}, best=20)
    saver.wait()
    assert steps_in(folder) == [20, 25]
