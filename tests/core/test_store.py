"""Where outputs go: a folder, memory:// and an S3 server behave the same; a bad destination is named before any work."""

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import Scratch
from mlseg_core.exactly_once.run import Incomplete, Unit, map_in_processes, merge, run_units
from mlseg_core.files import fingerprint
from mlseg_core.store import DestinationError, check_name, open_store

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["folder", "file", "memory", "s3"])
def where(request, tmp_path):
    """The same destination in each form, empty."""
    if request.param == "s3":
        return f"{request.getfixturevalue('s3_server')}/{fingerprint(str(tmp_path))[:12]}"
    forms = {"folder": tmp_path / "out", "file": f"file://{tmp_path}/o%20t", "memory": f"memory://{tmp_path.name}/out"}
    return forms[request.param]


def write_number(unit, scratch):
    scratch.file(f"{unit.name}.txt").write_text(str(unit.payload))
    scratch.file(f"overview/{unit.name}.jpg").write_text("picture")
    scratch.advance(3)


def index(unit, files, derived):
    value = int(files[f"{unit.name}.txt"].read_text())
    derived.file(f"{unit.name}.index").write_text(f"index of {value}")
    return {"value": value}


def numbers(count):
    return [Unit(f"n{i}", fingerprint(i), i) for i in range(count)]


def test_a_map_ends_the_same_wherever_it_writes(where):
    units = numbers(5)
    assert map_in_processes(units, write_number, where, 2, describe=index) == []
    records = merge(units, where)
    assert [record.facts["value"] for record in records] == [0, 1, 2, 3, 4]
    assert all(record.pieces == 3 for record in records)
    with open_store(where) as store:
        assert store.read("n3.txt") == b"3" and store.read("overview/n3.jpg") == b"picture"
        assert store.read("n3.index") == b"index of 3"
        assert set(store.sizes()) == {f"n{i}.{suffix}" for i in range(5) for suffix in ("txt", "index")}
        assert store.sizes("overview")["n0.jpg"] == len("picture")
        assert set(store.sizes("done")) == {f"n{i}.json" for i in range(5)}


def test_the_record_hashes_the_winner(where):
    with open_store(where) as store:
        early = store.scratch / "early"
        early.parent.mkdir(parents=True, exist_ok=True)
        early.write_text("41")
        store.publish_first(early, "n7.txt")
        run_units([Unit("n7", "a" * 64, 999)], write_number, where, describe=index)
        record = merge([Unit("n7", "a" * 64)], where)[0]
        assert record.facts == {"value": 41} and record.files["n7.txt"]["bytes"] == 2
        assert store.read("n7.txt") == b"41" and store.read("n7.index") == b"index of 41"


def test_derived_files_are_replaced(where):
    with open_store(where) as store:
        store.write("n1.index", "stale")
        run_units(numbers(2), write_number, where, describe=index)
        assert store.read("n1.index") == b"index of 1"


def test_a_file_that_went_away_is_made_again_and_one_cut_short_replaced(where):
    units = numbers(3)
    run_units(units, write_number, where, describe=index)
    with open_store(where) as store:
        store.remove("n1.txt")
        store.write("overview/n2.jpg", "pic")
        with pytest.raises(Incomplete) as caught:
            merge(units, where)
        assert caught.value.missing == ["n1", "n2"]
        assert run_units(units, write_number, where, describe=index) == []
        merge(units, where)
        assert store.read("n1.txt") == b"1" and store.read("overview/n2.jpg") == b"picture"


def test_one_of_many_at_once_wins(where):
    if str(where).startswith("memory"):
        pytest.skip("fsspec's memory belongs to one process, and to one thread at a time")
    found = []

    def publish(number):
        with open_store(where) as store:
            temporary = store.scratch / f"mine-{number}"
            temporary.write_text(str(number))
            found.append(store.publish_first(temporary, "target").read_text())

    with open_store(where) as store:
        store.check()
        threads = [threading.Thread(target=publish, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 6 and set(found) == {store.read("target").decode()}


def test_what_is_not_there(where):
    with open_store(where) as store:
        assert store.size("none") is None and not store.exists("none") and store.sizes("none") == {}
        store.remove("none")
        with pytest.raises(FileNotFoundError):
            store.read("none")


def test_nothing_is_left_on_this_machine(s3_server, tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", None)  # read TMPDIR again
    run_units(numbers(2), write_number, f"{s3_server}/clean")
    map_in_processes(numbers(4), write_number, f"{s3_server}/clean", 2)
    assert list(tmp_path.iterdir()) == []


def test_no_credentials_in_messages(s3_server, monkeypatch):
    with pytest.raises(DestinationError, match=r"s3://nobody-s-bucket/x: cannot be written") as caught:
        run_units(numbers(1), write_number, "s3://me:very-secret@nobody-s-bucket/x")
    assert "very-secret" not in str(caught.value)


def test_a_store_that_lets_the_second_win_is_refused(tmp_path):
    """fsspec's general conditional put looks first and writes then: two workers at once could both win."""
    with pytest.raises(DestinationError, match="does not refuse a second put"):
        run_units(numbers(1), write_number, f"dir::file://{tmp_path}")


@pytest.mark.parametrize("address", ["nosuch://x", "oss://bucket/x"])
def test_an_address_that_means_nothing_here(address):
    with pytest.raises(UserError, match="cannot be used here"):
        run_units(numbers(1), write_number, address)


@given(st.text(st.sampled_from("ab./-\0"), max_size=12))
def test_no_accepted_name_leaves_the_store(name):
    try:
        accepted = check_name(name)
    except ValueError:
        return
    inside = os.path.normpath(f"/store/{accepted}")
    assert inside == f"/store/{accepted}" and inside != "/store"


def test_names_that_are_refused(tmp_path):
    scratch = Scratch(tmp_path)
    for name in ("/etc/x", "../x", "a/../../x", "a//b", "", ".tmp-x", "a/.tmp-x", "."):
        with pytest.raises(ValueError, match="no name for a published file"):
            scratch.file(name)
    assert scratch.file("a/b/c.jpg").parent == tmp_path / "a" / "b" and scratch.file("a/b/c.jpg").suffix == ".jpg"


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 1 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"mounting is not permitted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", disk], check=True)


def remount(disk, options):
    subprocess.run(["mount", "-o", f"remount,{options}", disk], check=True)


def write_much(unit, scratch):
    scratch.file(f"{unit.name}.bin").write_bytes(bytes(200_000))


def swallow(unit, scratch):
    """As libraries do that say false, or something of their own, when a write fails."""
    try:
        write_much(unit, scratch)
    except OSError:
        raise ValueError("could not encode") from None


@pytest.mark.parametrize("work", [write_much, swallow])
def test_a_full_disk_ends_the_run_and_it_continues_when_there_is_room(small_disk, work):
    units, out = numbers(8), small_disk / "out"
    with pytest.raises(DestinationError, match=r"no space left.*Free some space") as caught:
        run_units(units, work, out)
    assert str(out) in str(caught.value)
    assert not list(out.rglob(".tmp-*")) and not list((out / "failed").glob("*")), "the slides are not to blame"
    assert all(path.stat().st_size == 200_000 for path in out.glob("*.bin")), "no half file under a final name"
    remount(small_disk, "size=8m")
    assert run_units(units, work, out) == []
    merge(units, out)


def test_a_full_disk_stops_all_processes(small_disk):
    with pytest.raises(DestinationError, match="no space left"):
        map_in_processes(numbers(12), write_much, small_disk / "out", 2)
    assert not list((small_disk / "out").rglob(".tmp-*"))


def test_a_read_only_disk_is_said_before_any_work(small_disk, tmp_path):
    worked = []
    remount(small_disk, "ro")
    with pytest.raises(DestinationError, match=r"read-only.*Make it writable"):
        run_units(numbers(1), lambda unit, scratch: worked.append(unit), small_disk / "out")
    assert worked == []


def test_a_file_in_the_place_of_the_folder(tmp_path):
    (tmp_path / "out").write_text("not a folder")
    with pytest.raises(DestinationError, match="cannot be written"):
        run_units(numbers(1), write_number, tmp_path / "out")


def test_a_destination_that_vanishes(tmp_path):
    def lose(unit, scratch):
        shutil.rmtree(tmp_path / "out")
        (tmp_path / "out").write_text("")
        raise OSError("stale file handle")

    with pytest.raises(DestinationError):
        run_units(numbers(2), lose, tmp_path / "out")
