"""What a unit asks of a shared file system is counted, and in which order: metadata operations are what a big map dies of."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.scale import traced
from mlseg_core.exactly_once.run import Incomplete, Unit, merge, run_units
from mlseg_core.files import fingerprint
from mlseg_core.progress import Progress, Tally, parse_tally
from mlseg_core.store import Folder

ROOT = Path(__file__).parents[2]
needs_strace = pytest.mark.skipif(not traced.is_there(), reason="strace is missing or may not trace")

MAP = """
import sys
from collections import Counter
from pathlib import Path
from tests.core.test_operations import describe, label, units
from mlseg_core.exactly_once.run import run_units
seen, folder = Counter(), sys.argv[2]
def hook(event, arguments):
    if event.startswith(("open", "os.")) and any(str(word).startswith(folder) for word in arguments[:2]):
        seen[event] += 1
sys.addaudithook(hook)
assert not run_units(units(int(sys.argv[1])), label, Path(folder), describe=describe)
import json
print(json.dumps(seen))
"""


def units(count):
    return [Unit(f"u{i:04d}", fingerprint(i), i) for i in range(count)]


def label(unit, scratch):
    scratch.open(f"{unit.name}.tar").write(str(unit.payload).encode() * 9000)


def describe(unit, files, derived):
    (file,) = derived.winners.values()
    file.seek(0)
    derived.open(f"{unit.name}.index").write(file.read()[:100])
    return {"value": unit.payload}


def command(count, folder):
    return [sys.executable, "-c", MAP, str(count), str(folder)]


def test_a_unit_opens_three_files_and_names_each_once(tmp_path):
    """A tar, its index, its record."""
    found = []
    for count in (20, 120):
        said = subprocess.run(
            command(count, tmp_path / str(count)), cwd=ROOT, capture_output=True, text=True, check=True
        )
        found.append(Counter(json.loads(said.stdout.splitlines()[-1])))
    few, many = found
    each = {event: (many[event] - few[event]) / 100 for event in many}
    assert each.pop("open") <= 3.05 and each.pop("os.rename") == 2 and each.pop("os.link") == 1
    assert each.pop("os.remove") == 1 and sum(each.values()) <= 0.05, each


@needs_strace
def test_a_unit_costs_seven_metadata_operations_and_four_syncs(tmp_path):
    few, many = (traced.trace(command(n, tmp_path / str(n)), tmp_path / str(n), cwd=ROOT)[1] for n in (20, 120))
    assert (many.metadata - few.metadata) / 100 <= 7.2, many.calls
    assert (many.syncs - few.syncs) / 100 <= 4.02, many.calls
    assert few.metadata < 20 * 7 + 40, "what a start costs"


@needs_strace
def test_what_a_record_says_is_on_the_disk_before_it(tmp_path):
    """Data before names, names before the record: a power cut at any moment leaves no record of something that is gone."""
    folder, log = tmp_path / "out", tmp_path / "log"
    words = ["strace", "-f", "-y", "-qq", "-o", str(log), "-e", "trace=fsync,link,linkat,rename,renameat,renameat2"]
    subprocess.run([*words, *command(1, folder)], cwd=ROOT, check=True, capture_output=True)
    order = [_step(line, folder) for line in log.read_text().splitlines() if str(folder) in line]
    order = order[order.index("sync tar") :]
    wanted = ["sync tar", "name tar", "sync index", "name index", "sync folder", "sync record", "name record"]
    assert order == wanted


def _step(line, folder):
    kind = next((k for k in ("tar", "index", "json") if f".{k}" in line), "folder")
    what = "sync" if "fsync(" in line else "name"
    return f"{what} {'record' if kind == 'json' else kind}"


@needs_strace
def test_a_merge_opens_the_record_and_asks_the_size_of_what_is_published(tmp_path):
    counts = []
    for count in (20, 120):
        run_units(units(count), label, tmp_path / str(count), describe=describe)
        code = f"from tests.core.test_operations import *; merge(units({count}), Path({str(tmp_path / str(count))!r}))"
        counts.append(traced.trace([sys.executable, "-c", code], tmp_path / str(count), cwd=ROOT)[1])
    assert (counts[1].metadata - counts[0].metadata) / 100 <= 2.05, counts[1].calls


pages = st.builds(
    lambda words: json.dumps(vars(Tally("units", 3, 9, 0.5, words, 1.0, at=words))), st.text(max_size=200)
)


@given(pages, pages, st.integers(0, 4096))
def test_a_note_that_is_read_while_it_is_written_is_a_tally_or_absent(old, new, cut):
    old, new = (text.encode().ljust(4096) for text in (old, new))
    for text in (new[:cut] + old[cut:], new[:cut], old[:cut] + bytes(4096 - cut)):
        assert parse_tally(text) is None or isinstance(parse_tally(text), Tally)
    assert parse_tally(new) is not None


def test_notes_of_one_worker_are_one_file_that_is_never_renamed(tmp_path):
    path = tmp_path / "progress" / "0.json"
    with Folder(tmp_path) as store:
        store.note("progress/0.json", "a long text " * 20)
        inode = path.stat().st_ino
        store.note("progress/0.json", "[1]")
        assert json.loads(path.read_text()) == [1]
        progress = Progress("map", 10, "units", save=lambda text: store.note("progress/0.json", text))
        progress.begin("u" * 5000)  # too long for a note: no reason to stop
        assert json.loads(path.read_text()) == [1]
        progress.begin("u1")
        assert parse_tally(path.read_bytes()).at == "u1"
    Folder(tmp_path).note("progress/0.json", "[2]")
    assert json.loads(path.read_text()) == [2] and path.stat().st_ino == inode


class KeepsListings(Folder):
    """As a file system that tells a client for a while what it told before."""

    def __init__(self, path):
        super().__init__(path)
        self._listed = {}

    def names(self, folder):
        if folder not in self._listed:
            self._listed[folder] = super().names(folder)
        return self._listed[folder]


def test_a_worker_whose_listings_are_old_does_nothing_twice_and_ends(tmp_path):
    done = []

    def note(unit, scratch):
        done.append(unit.name)
        if len(done) == 5:  # somebody else does all but the last two, and one fails twice
            run_units(units(58), label, tmp_path)
            (tmp_path / "failed").mkdir(exist_ok=True)
            record = {"unit": "u0058", "reason": "bad", "traceback": "", "inputs": fingerprint(58), "tries": 2}
            (tmp_path / "failed" / "u0058.json").write_text(json.dumps(record))
        label(unit, scratch)

    assert run_units(units(60), note, KeepsListings(tmp_path), worker=1, workers=12) == []
    assert done == [*(f"u{i:04d}" for i in range(5, 10)), "u0059"]


def test_a_worker_that_goes_on_believes_its_records_and_the_next_run_reads_them(tmp_path):
    """A file that was lost meanwhile is found by the merge, and made again by the run after it."""
    code = (
        "import os; from tests.core import test_operations as here; from pathlib import Path\n"
        "def die(unit, scratch):\n"
        "    here.label(unit, scratch)\n"
        "    if unit.payload == 7: os.kill(os.getpid(), 9)\n"
        f"here.run_units(here.units(9), die, Path({str(tmp_path)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -9
    (tmp_path / "u0003.tar").unlink()
    assert run_units(units(9), label, tmp_path) == []
    with pytest.raises(Incomplete) as caught:
        merge(units(9), tmp_path)
    assert caught.value.missing == ["u0003"]
    assert run_units(units(9), label, tmp_path) == []
    merge(units(9), tmp_path)


def test_a_worker_killed_before_its_records_were_read_reads_them_next_time(tmp_path):
    """Other inputs than those of the records: a worker that dies on the way must not believe the old ones."""
    run_units(units(6), label, tmp_path)
    changed = [Unit(unit.name, fingerprint("new"), unit.payload) for unit in units(6)]
    code = (
        "import os; from tests.core import test_operations as here; from pathlib import Path\n"
        "def die(unit, scratch):\n"
        "    if unit.payload == 2: os.kill(os.getpid(), 9)\n"
        "    scratch.open(unit.name + '-new.tar').write(b'new')\n"
        "units = [here.Unit(u.name, here.fingerprint('new'), u.payload) for u in here.units(6)]\n"
        f"here.run_units(units, die, Path({str(tmp_path)!r}))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == -9
    with pytest.raises(Incomplete):
        merge(changed, tmp_path)

    def again(unit, scratch):
        scratch.open(f"{unit.name}-new.tar").write(b"new")

    assert run_units(changed, again, tmp_path) == []
    assert re.fullmatch(r"u\d{4}-new\.tar", next(iter(merge(changed, tmp_path)[2].files)))
