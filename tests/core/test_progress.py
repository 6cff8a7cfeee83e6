"""What people see of a map: exact counts, an ETA by cost, one line for any number of workers."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launch.phase_progress import phase_tally
from mlseg_core.exactly_once.run import Unit, map_in_processes, run_units
from mlseg_core.files import fingerprint
from mlseg_core.progress import Progress, Tally, add_up, clock, describe, read_tallies

ROOT = Path(__file__).parents[2]


def tally(**changes):
    base = {"unit": "slides", "done": 0, "total": 500, "rate": 0.0, "note": "", "updated": time.time()}
    return Tally(**{**base, **changes})


def units(count):
    return [Unit(f"u{i:02d}", fingerprint(i), i, cost=1.0 + i) for i in range(count)]


def ten_pairs(unit, scratch):
    path = scratch.file(f"{unit.name}.txt")
    path.write_text("x")
    for _ in range(10):
        scratch.advance()
        time.sleep(0.002)
    if unit.payload == 2:
        raise ValueError("bad slide")


def test_the_line_that_people_read():
    now = tally(
        done=12, cost_done=1e9, cost_total=9e9, cost_rate=2.15e6, piece_unit="pairs", pieces=48_000,
        pieces_at_hand=210, piece_rate=212.4, note="SLUG",
    )  # fmt: skip
    assert describe("shards", now) == "shards  12/500 slides  48,210 pairs  212 pairs/s  ETA 1:02:00  SLUG"
    now.failed = 2
    assert "  ETA 1:02:00  2 failed  SLUG" in describe("shards", now)
    assert describe("base", tally(unit="steps", done=3, total=10, rate=0.5, note="loss 0.3")) == (
        "base  3/10 steps  0.5/s  ETA 0:14  loss 0.3"
    )


def test_eta_goes_by_cost_not_by_count():
    """Nine small slides are done, the big one is not: nearly all is left."""
    assert tally(done=9, total=10, rate=1.0, cost_done=9, cost_total=1009, cost_rate=10).eta_s == 100
    assert tally(done=9, total=10, rate=1.0).eta_s == 1
    assert tally(cost_total=10.0).eta_s is None, "no rate yet"


@given(st.floats(0, 1e6, allow_subnormal=False))
def test_clock(seconds):
    parts = [int(part) for part in clock(seconds).split(":")]
    assert sum(part * 60**power for power, part in enumerate(reversed(parts))) == int(seconds)


def test_workers_are_added_up():
    now = time.time()
    workers = [
        tally(done=10, pieces=100, pieces_at_hand=7, piece_rate=5.0, cost_rate=2.0, rate=0.1, updated=now - 1),
        tally(done=12, pieces=120, pieces_at_hand=3, piece_rate=6.0, cost_rate=3.0, rate=0.2, updated=now, note="b"),
        tally(done=11, pieces=110, piece_rate=9.0, cost_rate=9.0, rate=9.0, updated=now - 2, ended=True),
        tally(done=400, pieces=9999, piece_rate=50.0, updated=now - 3600),  # killed an hour ago, knew of 400
        tally(done=450, total=450, pieces=1, plan="of other inputs", updated=now - 60),
    ]
    whole = add_up(workers)
    assert (whole.done, whole.pieces, whole.pieces_at_hand, whole.note) == (400, 9999, 10, "b")
    assert (whole.piece_rate, whole.cost_rate) == (11.0, 5.0) and whole.rate == pytest.approx(0.3)
    assert add_up([]) is None


def test_a_map_counts_what_others_did_before_and_what_failed(tmp_path):
    run_units(units(8)[3:], ten_pairs, tmp_path, label="first")
    run_units(units(8), ten_pairs, tmp_path, piece_unit="pairs", progress_unit="slides")
    (found,) = read_tallies(tmp_path / "progress")
    assert (found.done, found.total, found.failed, found.pieces) == (7, 8, 1, 70)
    assert found.cost_done == found.cost_total == sum(unit.cost for unit in units(8)) - units(8)[2].cost
    assert found.ended and found.at == ""


def test_the_tally_names_the_unit_at_hand(tmp_path):
    seen = []

    def look(unit, scratch):
        seen.append(json.loads((tmp_path / "progress" / "0.json").read_text())["at"])

    run_units(units(3), look, tmp_path)
    assert seen == ["u00", "u01", "u02"]


def test_the_parent_shows_one_line_and_the_workers_none(tmp_path, capfd):
    failed = map_in_processes(
        units(6), ten_pairs, tmp_path, 2, label="shards", progress_unit="slides", piece_unit="pairs"
    )
    assert [f.unit for f in failed] == ["u02"]
    (line,) = capfd.readouterr().out.splitlines()
    assert line.startswith("shards  5/6 slides  50 pairs  ") and "  1 failed  in 0:0" in line
    map_in_processes(units(2), ten_pairs, tmp_path, 2, label="again")
    assert capfd.readouterr().out == "", "nothing was left to do"


def test_progress_is_never_a_reason_to_stop(tmp_path):
    (tmp_path / "file").write_text("")
    progress = Progress("base", 10, "steps", tmp_path / "file" / "0.json")
    progress.advance(3)
    progress.finish()
    assert progress.tally.done == 3


def test_a_bar_on_a_terminal(tmp_path):
    """Through a real pseudo-terminal: the bar moves, is gone at the end, and the last line stays."""
    script = (
        "import sys; from pathlib import Path; from mlseg_core.exactly_once.run import map_in_processes;"
        "from mlseg_core.logs import log_as_command; log_as_command();"
        "from tests.core.test_progress import slow_pairs, units;"
        "map_in_processes(units(5), slow_pairs, Path(sys.argv[1]), 2, label='shards', piece_unit='pairs')"
    )
    command = f'{sys.executable} -c "{script}" {tmp_path / "out"}'
    shown = subprocess.run(
        ["script", "-qec", f"stty cols 100; {command}", "/dev/null"], cwd=ROOT, capture_output=True, text=True
    ).stdout
    assert "━" in shown and "ETA" in shown and "pairs/s" in shown
    assert "shards  5/5 units  250 pairs" in shown.rstrip().splitlines()[-1]


def slow_pairs(unit, scratch):
    scratch.file(f"{unit.name}.txt").write_text("x")
    for _ in range(50):
        scratch.advance()
        time.sleep(0.02)


def test_status_and_console_use_the_same_sum(tmp_path):
    from launch.graph import Phase
    from launch.phases import kind_of
    from launch.run_folder import RunFolder

    run, phase = RunFolder(tmp_path), Phase(0, "shards", "shards")
    assert phase_tally(run, phase) is None
    folder = kind_of(phase).folder(run, phase)
    for worker in (0, 1):
        run_units(units(6), ten_pairs, folder, worker=worker, workers=2, piece_unit="pairs")
    assert phase_tally(run, phase) == add_up(read_tallies(folder / "progress"))
    assert (phase_tally(run, phase).done, phase_tally(run, phase).failed) == (5, 1)
