"""A node on which nothing works fails no unit of the map for good; a unit on which nothing works is not tried by everybody."""

import json
import threading
from collections import Counter

import pytest

from mlseg_core.errors import Interrupted, UserError
from mlseg_core.exactly_once.failures import Failures
from mlseg_core.exactly_once.run import Incomplete, map_in_processes, merge, run_units
from mlseg_core.store import open_store
from tests.core.exactly_once.test_run import make_units, square

WORKERS = 6


def broken(unit, scratch):
    """As on a node with a broken GPU, or without the slides."""
    raise RuntimeError("CUDA error: unspecified launch failure")


def unmounted(unit, scratch):
    raise UserError("no such file", "/slides/a.svs")


def workers_do(works, units, folder):
    """Each worker in a thread; all start at once. Returns what each returned."""
    gate, returned = threading.Barrier(len(works)), {}

    def run(number):
        gate.wait()
        returned[number] = run_units(units, works[number], folder, worker=number, workers=len(works))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [returned[number] for number in range(len(works))]


@pytest.mark.parametrize("bad", [broken, unmounted])
@pytest.mark.parametrize("nodes", [1, 3])
def test_nodes_on_which_nothing_works_do_not_fail_the_map(tmp_path, bad, nodes):
    units = make_units(60)
    returned = workers_do([*[bad] * nodes, *[square] * (WORKERS - nodes)], units, tmp_path)
    merge(units, tmp_path)
    assert not list((tmp_path / "failed").iterdir())
    assert not any(returned[nodes:])


@pytest.mark.parametrize("bad", [broken, unmounted])
def test_a_node_that_is_alone_at_first_fails_its_slice_and_takes_no_other(tmp_path, bad):
    units = make_units(60)
    tried = run_units(units, bad, tmp_path, worker=2, workers=WORKERS)
    assert [failed.unit for failed in tried] == [f"u{number:03d}" for number in range(20, 30)]
    assert run_units(units, square, tmp_path, worker=0, workers=WORKERS) == []
    merge(units, tmp_path)
    assert not list((tmp_path / "failed").iterdir())


def test_a_node_that_comes_late_tries_three_of_the_others(tmp_path):
    units = make_units(60)
    left = iter([False] * 25)
    for number in (2, 0):  # the slice of worker 2, then fifteen more
        with pytest.raises(Interrupted):
            run_units(units, square, tmp_path, worker=number, workers=WORKERS, stop=lambda: next(left, True))
    assert len(run_units(units, broken, tmp_path, worker=2, workers=WORKERS)) == 3


def test_a_node_that_breaks_in_the_midst_of_it_costs_nothing(tmp_path):
    """It has done some, so that it is believed at first."""
    units, done = make_units(60), []

    def breaks(unit, scratch):
        done.append(unit.name)
        (square if len(done) <= 4 else broken)(unit, scratch)

    assert len(run_units(units, breaks, tmp_path, worker=0, workers=WORKERS)) == 6, "what is left of its slice"
    assert run_units(units, square, tmp_path, worker=1, workers=WORKERS) == []
    merge(units, tmp_path)


def test_a_unit_that_fails_everywhere_is_tried_by_two_that_did_others_and_its_reason_says_where(tmp_path):
    tried = Counter()

    def one_is_bad(unit, scratch):
        tried[unit.name] += 1
        if unit.payload == 17:
            raise ValueError("bad slide")
        square(unit, scratch)

    units, left = make_units(60), iter([False] * 55)
    with pytest.raises(Interrupted):
        run_units(units, one_is_bad, tmp_path, worker=1, workers=WORKERS, stop=lambda: next(left, True))
    for tries in (2, 2):
        run_units(units, one_is_bad, tmp_path, worker=3, workers=WORKERS)
        record = json.loads((tmp_path / "failed" / "u017.json").read_text())
        assert "bad slide" in record["reason"] and record["tries"] == tries == tried["u017"] and record["host"]
    assert set(Counter(tried).values()) == {1, 2}
    with pytest.raises(Incomplete):
        merge(units, tmp_path)


def test_only_a_process_that_did_others_is_believed(tmp_path):
    unit, store = make_units(1)[0], open_store(tmp_path)
    for tries, did_others in ((0, False), (1, True), (1, False), (2, True)):
        failures = Failures(store, spread=True)
        if did_others:
            failures.done()
        assert not failures.gives_up(unit)
        failures.add(unit, ValueError("bad slide"), "")
        assert failures.given_up == {unit.name}
        assert failures.here()[0].tries == tries and failures.here()[0].is_final
    assert Failures(store, spread=True).gives_up(unit)


def test_units_that_all_fail_are_tried_once_by_their_owners_and_a_few_times_by_others(tmp_path):
    """A mistake in the code: each worker ends with the reason, soon."""
    tried = Counter()

    def fail(unit, scratch):
        tried[unit.name] += 1
        raise ValueError("a mistake")

    units = make_units(60)
    returned = workers_do([fail] * WORKERS, units, tmp_path)
    assert all(returned) and set(tried) == {unit.name for unit in units}
    assert sum(tried.values()) <= 60 + 3 * WORKERS
    with pytest.raises(Incomplete):
        merge(units, tmp_path)


def test_on_one_machine_a_unit_is_tried_once(tmp_path):
    units = make_units(8)
    failed = map_in_processes(units, broken, tmp_path / "out", 1)
    assert len(failed) == 8 and {one.tries for one in failed} == {1}
    assert map_in_processes(units, square, tmp_path / "out", 3) == []
