"""What workers tell each other on a shared page: it saves listings, and no mark is ever believed against the records."""

import errno
import subprocess
import sys
from collections import Counter

import pytest

from benchmarks.scale import traced
from mlseg_core.errors import Interrupted
from mlseg_core.exactly_once.run import merge, run_units
from mlseg_core.exactly_once.unit_status import Marks
from mlseg_core.store import Folder, open_store
from tests.core.test_operations import ROOT, label, units

PAGE = "progress/done-x"
NAMES = [f"u{number:04d}" for number in range(9)]


def do_some(todo, folder, worker, count):
    """So many units by another of twelve workers."""
    left = iter([False] * count)
    with pytest.raises(Interrupted):
        run_units(todo, label, folder, worker=worker, workers=12, stop=lambda: next(left, True))


def page_of(folder):
    (path,) = (folder / "progress").glob("done-*")
    return path


def test_what_one_has_marked_all_see_at_once(tmp_path):
    with Folder(tmp_path) as here, Folder(tmp_path) as there:
        ours, theirs = (Marks(store, PAGE, NAMES) for store in (here, there))
        assert theirs.read() == [] and not theirs.has("u0004")
        for name in ("u0004", "u0008"):
            ours.add(name)
        assert theirs.read() == ["u0004", "u0008"]
        assert [theirs.has(name) for name in NAMES] == [name in ("u0004", "u0008") for name in NAMES]
    assert Marks(Folder(tmp_path), PAGE, NAMES).read() == [], "nothing is believed before the records were listed"


def test_a_mark_counts_from_the_first_listing_on_and_one_without_its_record_never(tmp_path):
    store = Folder(tmp_path)
    before = Marks(store, PAGE, NAMES)
    for name in ("u0001", "u0002"):
        before.add(name)
    marks = Marks(store, PAGE, NAMES)
    marks.listed(["u0001"])
    before.add("u0003")
    assert marks.read() == ["u0001", "u0003"] and not marks.has("u0002")


def test_a_store_without_pages_is_listed_and_loses_nothing():
    store = open_store("memory://marks")
    marks = Marks(store, PAGE, NAMES)
    marks.add("u0001")
    assert marks.read() is None and not marks.has("u0001")


class NoPage(Folder):
    """As when the page's handle is stale."""

    def mark(self, page, place):
        raise OSError(errno.ESTALE, "stale file handle")

    def marks(self, page, first, count):
        raise OSError(errno.ESTALE, "stale file handle")


def test_a_page_that_cannot_be_used_costs_listings_and_nothing_else(tmp_path):
    assert run_units(units(30), label, NoPage(tmp_path), worker=1, workers=3) == []
    merge(units(30), tmp_path)


def test_a_record_that_went_away_is_made_again_by_whoever_comes(tmp_path):
    """A power cut may take a record and leave its mark."""
    run_units(units(30), label, tmp_path)
    for lost in ("u0002", "u0029"):
        (tmp_path / "done" / f"{lost}.json").unlink()
    done = []

    def again(unit, scratch):
        done.append(unit.name)
        label(unit, scratch)

    assert run_units(units(30), again, tmp_path, worker=1, workers=3) == []
    assert sorted(done) == ["u0002", "u0029"]
    merge(units(30), tmp_path)


@pytest.mark.parametrize("page", ["removed", "cleared", "kept"])
def test_what_is_done_and_not_marked_is_not_done_twice(tmp_path, page):
    done = []

    def note(unit, scratch):
        done.append(unit.name)
        if len(done) == 5:
            do_some(units(60), tmp_path, 3, 20)
            if page == "removed":
                page_of(tmp_path).unlink()
            elif page == "cleared":
                page_of(tmp_path).write_bytes(bytes(60))
        label(unit, scratch)

    assert run_units(units(60), note, tmp_path, worker=1, workers=12) == []
    assert len(done) == len(set(done)) == 40
    merge(units(60), tmp_path)


class Counts(Folder):
    """Counts what it is asked."""

    def __init__(self, path):
        super().__init__(path)
        self.asked = Counter()

    def names(self, folder):
        self.asked[folder] += 1
        return super().names(folder)

    def exists(self, name):
        self.asked["exists"] += 1
        return super().exists(name)


def test_a_worker_lists_the_records_once(tmp_path):
    """It does its own ten and those of eleven others, who came in between and did half."""
    store, done = Counts(tmp_path), []

    def note(unit, scratch):
        done.append(unit.name)
        if len(done) == 5:
            for other in range(2, 8):
                do_some(units(120), tmp_path, other, 10)
        label(unit, scratch)

    assert run_units(units(120), note, store, worker=1, workers=12) == []
    assert len(done) == len(set(done)) == 60
    assert store.asked["done"] == 1 and store.asked["exists"] <= 50 + 5, store.asked
    merge(units(120), tmp_path)


@pytest.mark.skipif(not traced.is_there(), reason="strace is missing or may not trace")
def test_a_stolen_unit_costs_one_metadata_operation_more_than_an_own_one(tmp_path):
    counts = []
    for count in (100, 500):
        code = (
            "from tests.core.test_operations import *; "
            f"run_units(units({count}), label, Path({str(tmp_path / str(count))!r}), worker=49, workers=50)"
        )
        counts.append(traced.trace([sys.executable, "-c", code], tmp_path / str(count), cwd=ROOT)[1])
    assert (counts[1].metadata - counts[0].metadata) / 400 <= 5 + 1.05, counts[1].calls


def test_workers_that_are_killed_leave_marks_of_what_is_done_only(tmp_path):
    code = (
        "import os; from tests.core.test_operations import *\n"
        "def die(unit, scratch):\n"
        "    label(unit, scratch)\n"
        "    if unit.payload == 7: os.kill(os.getpid(), 9)\n"
        f"run_units(units(9), die, Path({str(tmp_path)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -9
    assert page_of(tmp_path).read_bytes() == b"1" * 7
    assert {path.stem for path in (tmp_path / "done").iterdir()} == set(NAMES[:7])
