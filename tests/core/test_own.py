"""Only what is ours by its name's exact form, a record or its content is deleted or written over."""

import json
import os
import secrets
import shutil
import signal
from pathlib import Path

import pytest

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import Scratch, read_superseded
from mlseg_core.exactly_once.run import Unit, is_done, map_in_processes, merge, run_units
from mlseg_core.files import fingerprint, temporary_beside, write_atomic
from mlseg_core.own import is_temporary, leads_out, refuse_foreign, remove_own, temporaries
from mlseg_core.store import open_store
from tests.core.test_store import where  # noqa: F401 - a fixture
from tests.planted import lost, plant


def write_number(unit, scratch):
    scratch.file(f"{unit.name}.txt").write_text(f"number {unit.payload}")
    scratch.file(f"sub/{unit.name}.txt").write_text("more")


def numbers(count, version=0):
    return [Unit(f"n{i}", fingerprint([i, version]), i) for i in range(count)]


def test_every_name_that_we_give_a_temporary_is_known(tmp_path):
    nested = temporary_beside(Scratch(tmp_path, secrets.token_hex(6)).file("a.geojson"))
    for path in (
        temporary_beside(tmp_path / "slides.csv"),
        Scratch(tmp_path, f"{secrets.token_hex(6)}-3-0").file("sub/a-000.tar"),
        Scratch(tmp_path, secrets.token_hex(6)).file("a-000.tar"),
        nested,
        tmp_path / f".tmp-probe-{secrets.token_hex(6)}",
    ):
        assert is_temporary(path.name), path.name


@pytest.mark.parametrize(
    "name",
    [
        ".tmp-notes",
        ".tmp-mine",
        ".tmp-12-notes",
        ".tmp-1-a-b",
        ".tmp-",
        ".tmp-12-0a0b0c0d",
        ".tmp-probe-1",
        "x.tmp-12-0a0b0c0d-x",
    ],
)
def test_a_users_temporary_is_not(name):
    assert not is_temporary(name)


def test_temporaries_are_regular_files_alone(tmp_path):
    ours = temporary_beside(tmp_path / "a")
    ours.write_text("half")
    temporary_beside(tmp_path / "folder").mkdir()
    temporary_beside(tmp_path / "link").symlink_to(ours)
    (tmp_path / ".tmp-notes").write_text("mine")
    assert temporaries(tmp_path) == [ours] and temporaries(tmp_path / "none") == []


def test_what_killed_processes_left_goes_and_nothing_else(tmp_path):
    units = numbers(2)
    run_units(units, write_number, tmp_path)
    places = [tmp_path / name if name else tmp_path for name in ("", "sub", "done", "failed", "progress")]
    planted = plant(*places)
    left = [temporary_beside(place / "a.txt") for place in places]
    for path in left:
        path.write_text("half")
    merge(units, tmp_path)
    assert not any(path.exists() for path in left) and lost(planted, *places) == []


def test_failures_of_ours_go_with_the_merge_and_other_files_stay(tmp_path):
    def fail(unit, scratch):
        raise ValueError("bad")

    units = numbers(2)
    run_units([units[0]], fail, tmp_path)
    planted = plant(tmp_path / "failed")
    (tmp_path / "failed" / "n1.json").mkdir()
    run_units(units, write_number, tmp_path)
    merge(units, tmp_path)
    assert not (tmp_path / "failed" / "n0.json").exists() and lost(planted, tmp_path / "failed") == []


def test_what_a_process_that_died_left_goes_and_nothing_else(tmp_path):
    planted = plant(tmp_path, tmp_path / "sub")
    assert [failed.unit for failed in map_in_processes(numbers(3), die_at_one, tmp_path, 1)] == ["n1"]
    assert lost(planted, tmp_path, tmp_path / "sub") == []
    assert not [path for path in tmp_path.rglob(".tmp-*") if is_temporary(path.name)]


def die_at_one(unit, scratch):
    write_number(unit, scratch)
    if unit.payload == 1:
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_record_that_is_replaced_stays_known(where):  # noqa: F811
    run_units(numbers(2), write_number, where)
    again = numbers(2, version=1)
    again[0] = numbers(1)[0]
    run_units(again, write_number, where)
    with open_store(where) as store:
        ((name, files),) = read_superseded(store).items()
        assert name == f"superseded/n1-{numbers(2)[1].inputs[:8]}.json" and set(files) == {"n1.txt", "sub/n1.txt"}
        store.write("superseded/notes.json", '{"files": {}}')
        assert list(read_superseded(store)) == [name]


def test_a_file_that_was_changed_is_kept_beside_the_new_one(where, capfd):  # noqa: F811
    units = numbers(2)
    run_units(units, write_number, where)
    with open_store(where) as store:
        store.write("n0.txt", "numb")  # cut short
        store.write("n1.txt", "corrected by hand")
        run_units(units, write_number, where)
        assert store.read("n0.txt") == b"number 0" and store.read("n1.txt") == b"number 1"
        kept = [name for name in store.sizes() if ".changed-" in name]
        assert [name.partition(".changed-")[0] for name in kept] == ["n1.txt"]
        assert (
            store.read(kept[0]) == b"corrected by hand" and "was changed since it was written" in capfd.readouterr().err
        )
        assert all(is_done(store, unit) for unit in units)


def test_an_object_with_the_name_of_a_folder_is_no_file_in_it(s3_server):
    with open_store(f"{s3_server}/named") as store:
        store.write("done", "mine")
        assert store.sizes("done") == {}


def test_own_files_go_and_folders_only_if_that_leaves_them_empty(tmp_path):
    folder = tmp_path / "folder"
    for name in ("a.ours", "deep/er/b.ours", "mixed/c.ours"):
        write_atomic(folder / name, "x")
    planted = plant(folder / "mixed")
    shutil.move(folder / "outside-of-mixed", tmp_path / "outside-of-mixed")
    (folder / "mixed" / "link.tar").unlink()
    (folder / "mixed" / "link folder").unlink()
    planted = {path: data for path, data in planted.items() if path.exists()}
    (folder / "linked.ours").symlink_to(tmp_path / "outside-of-mixed" / "data.tar")
    stay = remove_own(folder, lambda name: name.endswith(".ours"))
    assert not (folder / "deep").exists() and not (folder / "a.ours").exists()
    assert "linked.ours" in stay and (folder / "linked.ours").is_symlink()
    assert all(path.read_bytes() == data for path, data in planted.items()) and (folder / "mixed" / "empty").is_dir()
    shutil.rmtree(folder / "mixed")
    (folder / "linked.ours").unlink()
    write_atomic(folder / "a.ours", "x")
    assert remove_own(folder, lambda name: True) == [] and not folder.exists()


def test_nothing_is_removed_behind_a_link(tmp_path):
    write_atomic(tmp_path / "real" / "a.ours", "x")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert remove_own(tmp_path / "link", lambda name: True) == ["link"] and (tmp_path / "real" / "a.ours").exists()
    assert leads_out(tmp_path / "link" / "a.ours", tmp_path) and not leads_out(tmp_path / "real" / "a.ours", tmp_path)
    out = tmp_path / "out"
    run_units(numbers(1), write_number, out)
    (out / "sub").rename(tmp_path / "moved")
    (out / "sub").symlink_to(tmp_path / "moved")
    temporary = temporary_beside(tmp_path / "moved" / "x")
    temporary.write_text("half")
    merge(numbers(1), out)
    assert temporary.exists()


def test_somebodys_file_is_not_written_over(tmp_path):
    (tmp_path / "mine").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "broken").symlink_to(tmp_path / "none")
    refuse_foreign([tmp_path / "none"], lambda path: False)
    refuse_foreign([tmp_path / "mine"], lambda path: path.read_text() == "mine")
    for name, said in (("mine", False), ("folder", True), ("broken", True)):
        with pytest.raises(UserError, match="would be overwritten"):
            refuse_foreign([tmp_path / name], lambda path, said=said: said)


def test_records_of_older_versions_count_as_ours(tmp_path):
    """A record with fields of another version is done again; only JSON that is none of ours is refused."""
    unit = numbers(1)[0]
    run_units([unit], write_number, tmp_path)
    path = Path(tmp_path / "done" / "n0.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "more": 1}))
    run_units([unit], write_number, tmp_path)
    assert is_done(tmp_path, unit)
    path.write_text('["mine"]')
    with pytest.raises(UserError, match="not a record that mlseg wrote here"):
        is_done(tmp_path, unit)
