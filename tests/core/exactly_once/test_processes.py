"""Processes of one map: killed, crashed, told to stop. Whatever happens, the rest is done and nothing half-written stays."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mlseg_core.errors import EXIT_INTERRUPTED, Interrupted
from mlseg_core.exactly_once.processes import run_workers
from mlseg_core.exactly_once.run import Unit, map_in_processes, merge
from mlseg_core.files import fingerprint, sha256_file
from mlseg_core.store import DestinationError

ROOT = Path(__file__).parents[3]
PARENT = """
import sys
from pathlib import Path
from mlseg_core.errors import exit_status
from mlseg_core.exactly_once.run import map_in_processes
from tests.core.exactly_once import test_processes as here
try:
    map_in_processes(here.units(int(sys.argv[3])), getattr(here, sys.argv[2]), Path(sys.argv[1]), 2)
except BaseException as error:
    print(type(error).__name__, error, file=sys.stderr)
    sys.exit(exit_status(error))
"""


def units(count):
    return [Unit(f"u{i:02d}", fingerprint(i), i) for i in range(count)]


def write_slowly(unit, scratch):
    path = scratch.file(f"sub/{unit.name}.txt")
    path.write_text("half")
    time.sleep(0.1)
    path.write_text(str(unit.payload))


def stay(unit, scratch):
    scratch.file(f"{unit.name}.txt").write_text("half")
    time.sleep(600)


def crash_at_three(unit, scratch):
    """As OpenSlide does on some damaged slides."""
    scratch.file(f"{unit.name}.txt").write_text("half")
    if unit.payload == 3:
        os.kill(os.getpid(), signal.SIGSEGV)
    scratch.file(f"{unit.name}.txt").write_text("whole")


def die_once(unit, scratch):
    """As under the out-of-memory killer: another time there is room."""
    mark = Path(str(scratch.folder) + f"-{unit.name}-was-here")
    scratch.file(f"{unit.name}.txt").write_text("half")
    if unit.payload in (0, 5) and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    scratch.file(f"{unit.name}.txt").write_text("whole")


def lose_the_folder(unit, scratch):
    if unit.payload == 1:
        scratch.folder.rename(f"{scratch.folder}-unmounted")
        scratch.folder.write_text("")
    scratch.file(f"{unit.name}.txt").write_text("whole")


def note_tries(unit, scratch):
    with open(f"{scratch.folder}-tries", "a") as file:
        file.write(f"{unit.name}\n")
    raise ValueError("bad slide")


def leave(code, stop):
    os._exit(code)


def hashes(folder):
    return {path.name: sha256_file(path) for path in folder.rglob("*.txt")}


def temporaries(folder):
    return [path for path in folder.rglob(".tmp-*.txt")]


def start(folder, work, count):
    words = [sys.executable, "-c", PARENT, str(folder), work, str(count)]
    return subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def children(pid):
    """The workers of a process; Python's resource tracker is a child too."""
    found = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [child for child in found if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def wait_until(condition, seconds=30.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def is_alive(pid):
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_a_unit_that_crashes_its_process_fails_and_the_rest_is_done(tmp_path):
    failed = map_in_processes(units(8), crash_at_three, tmp_path / "out", 2)
    assert [f.unit for f in failed] == ["u03"]
    assert failed[0].deaths >= 3 and "the process died" in failed[0].reason
    assert len(list((tmp_path / "out").glob("*.txt"))) == 7 and not temporaries(tmp_path)
    assert {path.read_text() for path in (tmp_path / "out").glob("*.txt")} == {"whole"}


@pytest.mark.parametrize("processes", [1, 3])
def test_a_process_that_was_killed_is_replaced(tmp_path, processes):
    assert map_in_processes(units(8), die_once, tmp_path / "out", processes) == []
    merge(units(8), tmp_path / "out")
    assert len(list(tmp_path.glob("out-*-was-here"))) == 2, "it did happen"
    assert not temporaries(tmp_path)


def test_killing_workers_from_outside_again_and_again(tmp_path):
    parent = start(tmp_path / "out", "write_slowly", 30)
    for kill in range(3):
        wait_until(lambda: len(list((tmp_path / "out").rglob("*.txt"))) > 4 * kill and len(children(parent.pid)) == 2)  # noqa: B023
        os.kill(children(parent.pid)[kill % 2], signal.SIGKILL)
    assert parent.wait(60) == 0, parent.stderr.read()
    merge(units(30), tmp_path / "out")
    map_in_processes(units(30), write_slowly, tmp_path / "whole", 1)
    assert hashes(tmp_path / "out") == hashes(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR2])
def test_a_signal_stops_at_a_unit_and_the_next_start_continues(tmp_path, number):
    parent = start(tmp_path / "out", "write_slowly", 40)
    wait_until(lambda: len(list((tmp_path / "out").rglob("u*.txt"))) > 2)
    workers = children(parent.pid)
    parent.send_signal(number)
    assert parent.wait(20) == EXIT_INTERRUPTED
    assert "Interrupted" in parent.stderr.read()
    assert not any(is_alive(worker) for worker in workers) and not temporaries(tmp_path)
    done = len(list((tmp_path / "out" / "done").glob("u*.json")))
    assert 2 < done < 40
    assert map_in_processes(units(40), write_slowly, tmp_path / "out", 2) == []
    merge(units(40), tmp_path / "out")
    assert not list((tmp_path / "out" / "failed").glob("*"))


def test_a_long_unit_is_cut_off_after_a_while_and_leaves_nothing(tmp_path):
    parent = start(tmp_path / "out", "stay", 4)
    wait_until(lambda: len(temporaries(tmp_path)) == 2)
    parent.send_signal(signal.SIGTERM)
    assert parent.wait(30) == EXIT_INTERRUPTED
    assert not temporaries(tmp_path) and not list((tmp_path / "out").glob("*.txt"))


def test_a_second_ctrl_c_ends_it_at_once(tmp_path):
    parent = start(tmp_path / "out", "stay", 4)
    wait_until(lambda: len(temporaries(tmp_path)) == 2)
    workers = children(parent.pid)
    parent.send_signal(signal.SIGINT)
    time.sleep(0.5)
    parent.send_signal(signal.SIGINT)
    assert parent.wait(5) == EXIT_INTERRUPTED
    assert not temporaries(tmp_path) and not any(is_alive(worker) for worker in workers)


def test_a_destination_that_vanishes_ends_all_processes_with_its_name(tmp_path):
    with pytest.raises(DestinationError, match=r"out: cannot be written"):
        map_in_processes(units(40), lose_the_folder, tmp_path / "out", 2)


def test_a_destination_lost_while_the_parent_reads_there_is_told_by_name_too(tmp_path):
    out, lost = tmp_path / "out", []

    def lose_it() -> bool:
        """Asked by the parent between two looks at the workers' progress."""
        if not lost and list(out.rglob("u*.txt")):
            lost.append(out.rename(tmp_path / "elsewhere"))
            out.write_text("not a folder any more")
        return False

    with pytest.raises(DestinationError, match=r"out: cannot be written"):
        map_in_processes(units(200), write_slowly, out, 2, stop=lose_it)
    assert lost


def test_workers_end_when_their_parent_is_killed(tmp_path):
    parent = start(tmp_path / "out", "write_slowly", 200)
    wait_until(lambda: list((tmp_path / "out").rglob("u*.txt")) != [])
    workers = children(parent.pid)
    parent.kill()
    parent.wait()
    wait_until(lambda: not any(is_alive(worker) for worker in workers), 10)
    assert map_in_processes(units(20), write_slowly, tmp_path / "out", 2) == []


def test_stop_is_asked_while_it_runs(tmp_path):
    with pytest.raises(Interrupted):
        map_in_processes(units(60), write_slowly, tmp_path / "out", 2, stop=lambda: (tmp_path / "out/sub").exists())
    assert not temporaries(tmp_path)


def test_a_bad_unit_is_tried_once_by_all_processes(tmp_path):
    failed = map_in_processes(units(4), note_tries, tmp_path / "out", 2)
    assert [f.unit for f in failed] == ["u00", "u01", "u02", "u03"]
    tries = (tmp_path / "out-tries").read_text().split()
    assert 4 <= len(tries) <= 6, "twice only where two processes met at one unit"


def test_what_cannot_be_started_is_said_and_not_tried_for_ever():
    def died(number, life):
        if life == 1:
            raise RuntimeError("dies at once")

    with pytest.raises(RuntimeError, match="dies at once"):
        run_workers(leave, 2, lambda number, life: (3,), died, lambda: None)


def say_place(folder, *, stop):
    (folder / os.environ["LOCAL_RANK"]).write_text(os.environ["LOCAL_WORLD_SIZE"])


def test_each_process_knows_its_place_by_which_it_takes_its_gpu(tmp_path):
    run_workers(say_place, 3, lambda number, life: (tmp_path,), lambda number, life: None, lambda: None)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "3", "1": "3", "2": "3"}
