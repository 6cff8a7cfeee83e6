"""The one way to run a function over many units (slides -> shards, shards -> labels), exactly once, on any number of workers.

A worker takes its own slice first, then steals from the tail of the others'. It writes to temporary files beside the
targets, publishes them first-wins, and then writes a done record that hashes the *winner's* files. No leases, no
clocks: doing a unit twice is harmless, losing one is impossible. `merge` proves that every unit is done.

A folder of outputs holds the published files, `done/UNIT.json`, `failed/UNIT.json` and `progress/WORKER.json`.
"""

import multiprocessing
import secrets
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mlseg_core.errors import Interrupted, UserError
from mlseg_core.files import publish_first, read_json, sha256_file, write_json
from mlseg_core.progress import Progress


@dataclass(frozen=True)
class Unit:
    """One piece of work. name: unique, a plain file name. inputs: hash of everything that decides the output bytes."""

    name: str
    inputs: str
    payload: Any = None


@dataclass(frozen=True)
class Done:
    """A unit's proof: its published files with size and sha256, and the facts that `describe` read from them."""

    unit: str
    inputs: str
    files: dict[str, dict[str, Any]]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Failed:
    unit: str
    reason: str
    traceback: str


@dataclass
class Scratch:
    """Hands out temporary paths in the folder of the targets."""

    folder: Path
    paths: dict[str, Path] = field(default_factory=dict)

    def file(self, name: str) -> Path:
        """The temporary path that will be published as `name`."""
        if name not in self.paths:
            self.paths[name] = self.folder / f".tmp-{secrets.token_hex(6)}-{name}"
        return self.paths[name]


Work = Callable[[Unit, Scratch], None]
"""Computes a unit into scratch.file(name) for each output name. A pure function of the unit."""
Describe = Callable[[Unit, dict[str, Path]], dict[str, Any]]
"""Facts (counts) read from the published files; may write files derived from them (an index) beside them."""


def run_units(
    units: Sequence[Unit],
    work: Work,
    folder: Path,
    *,
    describe: Describe | None = None,
    worker: int = 0,
    workers: int = 1,
    label: str = "map",
    stop: Callable[[], bool] = lambda: False,
    progress_unit: str = "units",
) -> list[Failed]:
    """Do what is not done yet; return the units that failed in this call (recorded, the run goes on).

    Raises Interrupted at a unit boundary when stop() says so, UserError at once.
    """
    for sub in ("done", "failed", "progress"):
        (folder / sub).mkdir(parents=True, exist_ok=True)
    order = own_slice_then_tail(len(units), worker, workers)
    begun = sum(is_done(folder, unit) for unit in units)
    progress = Progress(label, len(units), progress_unit, folder / "progress" / f"{worker}.json", done=begun)
    failures = []
    for index in order:
        unit = units[index]
        if is_done(folder, unit):
            continue
        if stop():
            raise Interrupted(f"{label}: stopped before unit {unit.name}")
        try:
            _do(unit, work, describe, folder)
        except (UserError, Interrupted):
            raise
        except Exception as error:  # a bad slide must not end the night
            failed = Failed(unit.name, f"{type(error).__name__}: {error}", traceback.format_exc())
            write_json(folder / "failed" / f"{unit.name}.json", vars(failed))
            failures.append(failed)
        else:
            progress.advance(1, unit.name)
    progress.finish()
    return failures


def own_slice_then_tail(count: int, worker: int, workers: int) -> list[int]:
    """Order in which a worker looks at units: its own contiguous slice forwards, then all others from the tail."""
    first, last = worker * count // workers, (worker + 1) * count // workers
    own = range(first, last)
    return [*own, *(i for i in reversed(range(count)) if i not in own)]


def is_done(folder: Path, unit: Unit) -> bool:
    """True when the unit is done from the same inputs."""
    path = _record(folder, unit)
    return path.exists() and read_json(path)["inputs"] == unit.inputs


def merge(units: Sequence[Unit], folder: Path) -> list[Done]:
    """Prove that all is done and return the records in the units' order. Raises Incomplete. Removes left-over temporaries."""
    names = [unit.name for unit in units]
    if len(set(names)) != len(names):
        raise AssertionError("unit names must be unique")
    missing = [unit.name for unit in units if not is_done(folder, unit)]
    if missing:
        raise Incomplete(missing, folder)
    records = [Done(**read_json(_record(folder, unit))) for unit in units]
    for record in records:
        for name, fact in record.files.items():
            path = folder / name
            if not path.exists() or path.stat().st_size != fact["bytes"]:
                raise Incomplete([record.unit], folder)
    for left_over in folder.glob(".tmp-*"):
        left_over.unlink(missing_ok=True)
    return records


class Incomplete(Exception):
    """Some units are not done. Carries their names."""

    def __init__(self, missing: list[str], folder: Path) -> None:
        shown = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        super().__init__(f"{len(missing)} units are not done in {folder}: {shown}")
        self.missing = missing


def map_in_processes(units: Sequence[Unit], work: Work, folder: Path, processes: int, **options: Any) -> None:
    """run_units on `processes` processes of this machine. work and describe must be importable. Raises what a worker raised."""
    if processes == 1:
        run_units(units, work, folder, **options)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(processes) as pool:
        calls = [
            pool.apply_async(run_units, (units, work, folder), {**options, "worker": i, "workers": processes})
            for i in range(processes)
        ]
        for call in calls:
            call.get()


def _do(unit: Unit, work: Work, describe: Describe | None, folder: Path) -> None:
    scratch = Scratch(folder)
    try:
        work(unit, scratch)
        for name, temporary in scratch.paths.items():
            publish_first(temporary, folder / name)
    finally:
        for temporary in scratch.paths.values():
            temporary.unlink(missing_ok=True)
    published = {name: folder / name for name in scratch.paths}
    facts = describe(unit, published) if describe else {}
    files = {name: {"bytes": path.stat().st_size, "sha256": sha256_file(path)} for name, path in published.items()}
    write_json(_record(folder, unit), vars(Done(unit.name, unit.inputs, files, facts)))
    (folder / "failed" / f"{unit.name}.json").unlink(missing_ok=True)


def _record(folder: Path, unit: Unit) -> Path:
    return folder / "done" / f"{unit.name}.json"
