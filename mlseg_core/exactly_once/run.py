"""The one way to run a function over many units (slides -> shards, shards -> labels), exactly once, on any number of workers.


A worker takes its own slice first, then steals from what is left of the others', each worker at another place. It writes to
temporary files beside the targets, publishes them first-wins, and then writes a done record that hashes the *winner's* files.
No leases, no clocks: doing a unit twice is harmless, losing one is impossible. `merge` proves that every unit is done.

A store of outputs (mlseg_core.store) holds the published files, `done/UNIT.json`, `failed/UNIT.json`, `progress/WORKER.json`
and `progress/done-PLAN` (unit_status.py). A unit that fails is recorded and the others go on (failures.py); only trouble with
the store ends the run.
"""

import logging
import os
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from mlseg_core.exactly_once.processes import run_workers
from mlseg_core.exactly_once.records import (
    SUPERSEDED,
    Done,
    Failed,
    Scratch,
    Unit,
    missing_files,
    own_failures,
    read_done,
    read_failed,
)
from mlseg_core.exactly_once.unit_status import UnitStatus
from mlseg_core.exactly_once.worker import Describe, MapPlan, Work, is_done, note_death, read_tally
from mlseg_core.own import temporaries
from mlseg_core.progress import Display, Tally, add_up, clock
from mlseg_core.progress import describe as progress_line
from mlseg_core.store import Store, open_store

_log = logging.getLogger(__name__)


__all__ = [
    "Describe",
    "Done",
    "Failed",
    "Incomplete",
    "Scratch",
    "Unit",
    "Work",
    "is_done",
    "map_in_processes",
    "merge",
    "run_units",
]

_IDLE_DEATHS = 3


def run_units(
    units: Sequence[Unit],
    work: Work,
    folder: Path | str,
    *,
    describe: Describe | None = None,
    worker: int = 0,
    workers: int = 1,
    label: str = "map",
    stop: Callable[[], bool] = lambda: False,
    progress_unit: str = "units",
    piece_unit: str = "pieces",
) -> list[Failed]:
    """Do what is not done yet; return the units that failed in this call (recorded, the run goes on).

    workers: on nodes of their own; what failed at one is tried by another, as a node may be to blame (failures.py).
    folder: of the outputs, or an fsspec URL.  piece_unit: what Scratch.advance counts.
    Raises Interrupted at a unit boundary when stop() says so, DestinationError when the outputs cannot be written.
    """
    plan = MapPlan(units, work, folder, describe, label, progress_unit, piece_unit, spread=workers > 1)
    with open_store(folder) as store:
        return plan.run(store, worker, workers, stop)


def map_in_processes(
    units: Sequence[Unit],
    work: Work,
    folder: Path | str,
    processes: int,
    *,
    describe: Describe | None = None,
    label: str = "map",
    stop: Callable[[], bool] = lambda: False,
    progress_unit: str = "units",
    piece_unit: str = "pieces",
) -> list[Failed]:
    """run_units on `processes` processes of this machine, under one bar. Returns every unit that is not done, with the reason.

    work and describe must be importable. A process that dies is replaced; a unit on which three died has failed.
    Raises Interrupted after SIGINT, SIGTERM, SIGUSR2 or stop(), DestinationError, Incomplete when a unit is simply missing.
    """
    plan = MapPlan(units, work, folder, describe, label, progress_unit, piece_unit)
    with open_store(folder) as store:
        if store.one_process:
            return plan.run(store, 0, 1, stop)
        store.check()
        _Crew(plan, store, processes).work(stop)
        return _failures(units, store)


def merge(units: Sequence[Unit], folder: Path | str) -> list[Done]:
    """Prove that all is done and return the records in the units' order. Raises Incomplete. Removes what else was left behind."""
    names = [unit.name for unit in units]
    if len(set(names)) != len(names):
        raise AssertionError("unit names must be unique")
    with open_store(folder) as store:
        found = [read_done(store, unit) for unit in units]
        records = [record for record in found if record is not None]
        damaged = missing_files(store, records)
        missing = [name for name, record in zip(names, found, strict=True) if record is None or name in damaged]
        if missing:
            raise Incomplete(missing, store.where)
        parents = {str(PurePosixPath(name).parent) for record in records for name in record.files}
        store.remove_temporaries({*parents, ".", "done", "failed", "progress", SUPERSEDED})
        for name in own_failures(store):  # by another worker, at another time
            store.remove(name)
    return records


class Incomplete(Exception):
    """Some units are not done. Carries their names."""

    def __init__(self, missing: list[str], folder: object) -> None:
        shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        super().__init__(f"{len(missing)} units are not done in {folder}: {shown}")
        self.missing, self.folder = missing, folder

    def __reduce__(self):  # survives the trip between processes
        return type(self), (self.missing, self.folder)


def _failures(units: Sequence[Unit], store: Store) -> list[Failed]:
    """Why units are not done. Raises Incomplete when one is missing without a reason."""
    left = [unit for unit in units if not is_done(store, unit)]
    found = [read_failed(store, unit) for unit in left]
    unexplained = [unit.name for unit, failed in zip(left, found, strict=True) if failed is None]
    if unexplained:
        raise Incomplete(unexplained, store.where)
    return [failed for failed in found if failed is not None]


class _Crew:
    """The processes of map_in_processes, and what their parent shows of them."""

    def __init__(self, plan: MapPlan, store: Store, processes: int) -> None:
        self._plan, self._store = plan, store
        self._token, self._idle_deaths = secrets.token_hex(6), 0
        self._status = UnitStatus(store, plan.units)
        self._figures = self._status.figures()
        self._size = max(1, min(processes, len(plan.units) - len(self._status.done)))
        self._begun, self._looked = time.time(), 0.0

    def work(self, stop: Callable[[], bool]) -> None:
        if len(self._status.done) == len(self._plan.units):
            return
        display = Display(self._plan.label)
        try:
            run_workers(_in_process, self._size, self._arguments, self._died, lambda: self._show(display), stop)
        except BaseException as error:
            self._remove_temporaries("")
            if isinstance(error, OSError):  # met by the parent itself, which also reads there
                self._store.blame(error)
            raise
        finally:
            display.close()
        self._say_last()

    def _arguments(self, number: int, life: int) -> tuple[Any, ...]:
        return self._plan, self._store.scratch, number, self._size, f"{self._token}-{number}-{life}", life

    def _died(self, number: int, life: int) -> None:
        self._remove_temporaries(f"-{number}-{life}")
        if note_death(self._store, self._plan, number, read_tally(self._store, number)) is None:
            self._idle_deaths += 1
            if self._idle_deaths == _IDLE_DEATHS:
                raise RuntimeError("worker processes die before they begin a unit (out of memory?)")

    def _show(self, display: Display) -> None:
        if time.monotonic() - self._looked > self._store.patience_s / 2:
            self._looked = time.monotonic()
            tallies = [read_tally(self._store, number) for number in range(self._size)]
            display.update(add_up(t for t in tallies if t is not None and t.updated >= self._begun))

    def _say_last(self) -> None:
        before = self._figures
        self._status.refresh(force=True)
        now, elapsed = self._status.figures(), time.time() - self._begun
        rate, piece_rate = ((now[name] - before[name]) / elapsed for name in ("done", "pieces"))
        tally = Tally(self._plan.progress_unit, 0, len(self._plan.units), rate, f"in {clock(elapsed)}", 0.0)
        tally = replace(tally, **now, piece_rate=piece_rate, piece_unit=self._plan.piece_unit)
        _log.info(progress_line(self._plan.label, tally))

    def _remove_temporaries(self, of: str) -> None:
        """Removes temporaries of this crew, or of one of its processes: the random token in a name says whose it is."""
        with suppress(OSError):  # a disk that went read-only is the reason we are here, and is told as such
            for folder, _, _ in os.walk(self._store.scratch, followlinks=False):
                for left_over in temporaries(Path(folder), f"{self._token}{of}-"):
                    left_over.unlink(missing_ok=True)


def _in_process(
    plan: MapPlan, scratch: Path, number: int, workers: int, tag: str, life: int, *, stop: Callable[[], bool]
) -> None:
    with open_store(plan.folder, scratch) as store:
        plan.run(store, number, workers, stop, tag, life, prints=False)
