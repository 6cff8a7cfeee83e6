"""The map: exactly once, whoever does it, whatever dies in between."""

import errno
import json
import multiprocessing
import os
import signal
import time

import pytest

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Incomplete, Unit, is_done, map_in_processes, merge, run_units
from mlseg_core.files import fingerprint, publish_first, sha256_file, write_atomic


def make_units(count):
    return [Unit(f"u{i:03d}", fingerprint(i), i) for i in range(count)]


def square(unit, scratch):
    scratch.file(f"{unit.name}-{unit.inputs[:6]}.txt").write_text(str(unit.payload**2))


def slow_square(unit, scratch):
    path = scratch.file(f"{unit.name}-{unit.inputs[:6]}.txt")
    path.write_text("half")
    time.sleep(0.02)
    path.write_text(str(unit.payload**2))


def read_back(unit, files, derived):
    return {"value": int(next(iter(files.values())).read_text())}


def die_of_u001(unit, scratch):
    scratch.file(f"{unit.name}-{unit.inputs[:6]}.txt").write_text("half")
    if unit.payload == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    square(unit, scratch)


def hashes(folder):
    return {p.name: sha256_file(p) for p in folder.glob("*.txt")}


def test_same_bytes_with_one_process_or_three(tmp_path):
    units = make_units(12)
    map_in_processes(units, square, tmp_path / "one", 1, describe=read_back)
    map_in_processes(units, square, tmp_path / "three", 3, describe=read_back)
    assert hashes(tmp_path / "one") == hashes(tmp_path / "three")
    records = merge(units, tmp_path / "three")
    assert [r.facts["value"] for r in records] == [i * i for i in range(12)]
    assert [r.unit for r in records] == [u.name for u in units]


def test_killed_anywhere_and_run_again_ends_the_same(tmp_path):
    units = make_units(30)
    map_in_processes(units, square, tmp_path / "whole", 1)
    context = multiprocessing.get_context("fork")
    for _ in range(4):
        child = context.Process(target=run_units, args=(units, slow_square, tmp_path / "killed"))
        child.start()
        time.sleep(0.15)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
    with pytest.raises(Incomplete):
        merge(units, tmp_path / "killed")
    run_units(units, slow_square, tmp_path / "killed")
    merge(units, tmp_path / "killed")
    assert hashes(tmp_path / "killed") == hashes(tmp_path / "whole")
    assert not list((tmp_path / "killed").glob(".tmp-*")), "merge leaves no temporaries"


def test_the_record_hashes_the_winner_not_the_loser(tmp_path):
    unit = make_units(1)[0]
    name = f"{unit.name}-{unit.inputs[:6]}.txt"
    (tmp_path / name).write_text("16")  # somebody published first

    def late(unit, scratch):
        scratch.file(name).write_text("999")

    run_units([unit], late, tmp_path, describe=read_back)
    record = merge([unit], tmp_path)[0]
    assert (tmp_path / name).read_text() == "16"
    assert record.facts == {"value": 16}
    assert record.files[name]["sha256"] == sha256_file(tmp_path / name)


def test_other_inputs_are_done_again_and_do_not_meet_the_old_file(tmp_path):
    run_units([Unit("u", "a" * 64, 3)], square, tmp_path)
    again = Unit("u", "b" * 64, 4)
    assert not is_done(tmp_path, again)
    run_units([again], square, tmp_path)
    assert (tmp_path / "u-bbbbbb.txt").read_text() == "16"


def test_a_failing_unit_is_recorded_and_the_others_go_on(tmp_path):
    def sometimes(unit, scratch):
        if unit.payload == 2:
            raise ValueError("bad slide")
        square(unit, scratch)

    units = make_units(5)
    failed = run_units(units, sometimes, tmp_path)
    assert [f.unit for f in failed] == ["u002"]
    record = json.loads((tmp_path / "failed" / "u002.json").read_text())
    assert "bad slide" in record["reason"] and "Traceback" in record["traceback"]
    with pytest.raises(Incomplete) as caught:
        merge(units, tmp_path)
    assert caught.value.missing == ["u002"]
    run_units(units, square, tmp_path)
    assert not (tmp_path / "failed" / "u002.json").exists()
    merge(units, tmp_path)


def test_mistakes_and_other_failures_are_recorded_alike_and_the_run_goes_on(tmp_path):
    def sometimes(unit, scratch):
        scratch.file(f"{unit.name}.txt").write_text("half")
        if unit.payload == 1:
            raise UserError("no mpp", "slides.csv: a", "Add it.")
        if unit.payload == 3:
            raise OSError(errno.EIO, "the slide's own disk")
        if unit.payload == 4:
            raise ValueError("caf\udce9.svs")  # a file name that is no UTF-8

    failed = run_units(make_units(6), sometimes, tmp_path)
    assert [(f.unit, f.mistake) for f in failed] == [("u001", True), ("u003", False), ("u004", False)]
    record = json.loads((tmp_path / "failed" / "u001.json").read_text())
    assert record["mistake"] is True and record["reason"] == "slides.csv: a: no mpp. Add it."
    assert not list(tmp_path.glob(".tmp-*")), "a unit that fails leaves no half file"
    assert {p.name for p in tmp_path.glob("*.txt")} == {"u000.txt", "u002.txt", "u005.txt"}


def test_a_unit_that_a_dead_process_was_at_comes_last_and_fails_at_the_third_death(tmp_path):
    units = make_units(4)
    context = multiprocessing.get_context("fork")
    for death in (1, 2, 3):
        child = context.Process(target=run_units, args=(units, die_of_u001, tmp_path))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        if death == 1:
            assert is_done(tmp_path, units[0]) and not is_done(tmp_path, units[3])
        else:
            assert is_done(tmp_path, units[3]), "the others come first"
    assert run_units(units, die_of_u001, tmp_path) == []
    record = json.loads((tmp_path / "failed" / "u001.json").read_text())
    assert record["deaths"] == 3 and "the process died while working on it" in record["reason"]
    run_units(units, square, tmp_path)
    merge(units, tmp_path)
    assert not (tmp_path / "failed" / "u001.json").exists()


def test_a_damaged_record_proves_nothing(tmp_path):
    units = make_units(3)
    run_units(units, square, tmp_path)
    for name, text in (("u000", ""), ("u001", "[]"), ("u002", '{"inputs": 3}')):
        (tmp_path / "done" / f"{name}.json").write_text(text)
    assert not any(is_done(tmp_path, unit) for unit in units)
    run_units(units, square, tmp_path)
    merge(units, tmp_path)


def test_derived_files_get_their_names_and_leave_no_temporaries(tmp_path):
    def count(unit, files, derived):
        derived.file("sub/counts.txt").write_text("1")
        if unit.payload == 1:
            raise ValueError("cannot be read back")
        return {}

    units = make_units(2)
    assert [f.unit for f in run_units(units, square, tmp_path, describe=count)] == ["u001"]
    assert (tmp_path / "sub" / "counts.txt").read_text() == "1"
    assert not list(tmp_path.rglob(".tmp-*"))
    assert not is_done(tmp_path, units[1])


def test_merge_sees_a_file_that_was_cut_short(tmp_path):
    units = make_units(3)
    run_units(units, square, tmp_path)
    victim = next(tmp_path.glob("u002-*.txt"))
    victim.write_text("")
    with pytest.raises(Incomplete):
        merge(units, tmp_path)


def test_publish_first_has_one_winner(tmp_path):
    first, second, target = tmp_path / ".tmp-1", tmp_path / ".tmp-2", tmp_path / "t"
    first.write_text("first")
    second.write_text("second")
    assert publish_first(first, target) and not publish_first(second, target)
    assert target.read_text() == "first" and sorted(p.name for p in tmp_path.iterdir()) == ["t"]


def test_write_atomic_leaves_the_old_file_when_writing_fails(tmp_path):
    path = tmp_path / "f"
    write_atomic(path, "old")
    with pytest.raises(TypeError):
        write_atomic(path, None)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["f"]
