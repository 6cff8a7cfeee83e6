"""One worker's part of a map: does the units that are not done, and records what came of each.


In: the plan, a store, the worker's number. Out: published files with their records, failures, a tally of progress.
"""

import json
import logging
import secrets
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlseg_core.errors import Interrupted, UserError
from mlseg_core.exactly_once.failures import Failures
from mlseg_core.exactly_once.records import (
    Done,
    Failed,
    Scratch,
    Unit,
    forget_failed,
    keep_superseded,
    read_done,
    read_failed,
    write_record,
)
from mlseg_core.exactly_once.stealing import StealPolicy, units_in_turn
from mlseg_core.exactly_once.unit_status import Marks, UnitStatus
from mlseg_core.files import fingerprint, size_and_sha256_of
from mlseg_core.progress import Progress, Tally, parse_tally
from mlseg_core.store import DestinationError, Store, open_store

_log = logging.getLogger(__name__)


_COMPARED_BYTES = 1 << 20
Work = Callable[[Unit, Scratch], None]
"""Computes a unit into scratch.file(name) for each output name. A pure function of the unit."""
Describe = Callable[[Unit, dict[str, Path], Scratch], dict[str, Any]]
"""describe(unit, files, derived) -> facts (counts) read from the published files.

files: output name -> local path of the winner's file.  derived: a Scratch for files that follow from them (an index);
they get their names after the call, replacing what is there, and are not part of the record. Its `winners` are `files`, open.
"""


def is_done(folder: Path | str | Store, unit: Unit) -> bool:
    """True when the unit is done from the same inputs and its files are there."""
    store = open_store(folder)
    record = read_done(store, unit)
    return record is not None and all(store.size(name) == fact["bytes"] for name, fact in record.files.items())


def _slice(count: int, worker: int, workers: int) -> range:
    return range(worker * count // workers, (worker + 1) * count // workers)


@dataclass(frozen=True)
class MapPlan:
    """What is to be done, as every worker gets it. spread: by workers on several nodes."""

    units: Sequence[Unit]
    do: Work
    folder: Path | str
    describe: Describe | None
    label: str
    progress_unit: str
    piece_unit: str
    spread: bool = False

    @property
    def key(self) -> str:
        return fingerprint([[unit.name, unit.inputs] for unit in self.units])[:12]

    def run(
        self,
        store: Store,
        worker: int,
        workers: int,
        stop: Callable[[], bool],
        tag: str = "",
        life: int = 0,
        prints: bool = True,
    ) -> list[Failed]:
        """One worker's part. life: processes that it has had before in this run; they have told what they died of."""
        store.check()
        _refuse_foreign_note(store, worker)
        own = _slice(len(self.units), worker, workers)
        before, part = read_tally(store, worker), f"{own.start}-{own.stop}"
        died_of = note_death(store, self, worker, before) if life == 0 else None
        goes_on = before is not None and not before.ended and (before.plan, before.proven) == (self.key, part)
        names = [unit.name for unit in self.units]
        marks = Marks(store, f"progress/done-{self.key}", names)
        status = UnitStatus(store, self.units, names[own.start : own.stop], goes_on, marks)
        if life == 0:  # what failed in an earlier run gets another chance; what killed a process counts its deaths
            for unit in (self.units[index] for index in own):
                known = read_failed(store, unit) if unit.name in status.failed and unit.name != died_of else None
                if known is not None and known.is_final:
                    forget_failed(store, unit)
                    status.failed.discard(unit.name)
        progress = self._progress(store, worker, prints)
        progress.tally.proven = "" if status.disproved else part
        policy = StealPolicy(store, status, marks, names[own.start : own.stop], worker, workers)
        try:
            return self._work_through(store, own, policy, stop, progress, tag or secrets.token_hex(6), worker / workers)
        except (DestinationError, Interrupted):
            raise
        except Exception as error:  # no unit's: those are recorded
            store.blame(error)
            raise
        finally:
            progress.finish()

    def _progress(self, store: Store, worker: int, prints: bool) -> Progress:
        def save(text: str) -> None:
            store.note(_tally_name(worker), text)

        progress = Progress(
            self.label, len(self.units), self.progress_unit, save=save, save_every_s=store.patience_s, prints=prints
        )
        progress.tally.plan, progress.tally.piece_unit = self.key, self.piece_unit
        return progress

    def _work_through(
        self,
        store: Store,
        own: Sequence[int],
        policy: StealPolicy,
        stop: Callable[[], bool],
        progress: Progress,
        tag: str,
        place: float,
    ) -> list[Failed]:
        failures, status = Failures(store, self.spread), policy.status
        progress.place(**status.figures())
        for index, is_own in units_in_turn(self.units, own, policy, failures, place):
            unit = self.units[index]
            if stop():
                raise Interrupted(f"{self.label}: stopped before unit {unit.name}")
            progress.begin(unit.name)
            try:
                status.add(self._do(store, unit, progress, tag, status))
                policy.marks.add(unit.name)
                failures.done()
                progress.finished(unit.cost)
            except (DestinationError, Interrupted):
                raise
            except Exception as error:  # a bad slide must not end the night
                if is_done(store, unit):
                    status.believe(unit.name)
                else:
                    failures.add(unit, error, traceback.format_exc())
                    status.failed.add(unit.name)
            if is_own:
                policy.after_a_unit()
            progress.place(**status.figures(), pieces_at_hand=0, at="")
        return [failed for failed in failures.here() if failed.unit not in status.done]

    def _do(self, store: Store, unit: Unit, progress: Progress, tag: str, status: UnitStatus) -> Done:
        """Work, publish, describe, record; each file is opened once, by what writes it.

        Four syncs, so that what a record says survives a power cut: each file's data before its name; the folder, for all
        names at once, before the record; the record's data before its name. Its folder is not synced: a record that is lost
        costs the unit once more, and nobody has relied on it but a merge, whose manifest is synced.
        """
        scratch, derived = Scratch(store.scratch, tag, progress.advance_pieces), Scratch(store.scratch, tag)
        try:
            self.do(unit, scratch)
            old = status.broken.get(unit.name)
            for name, fact in old.files.items() if old is not None else ():
                if name in scratch.paths and store.size(name) not in (None, fact["bytes"]):
                    _make_way(store, name, scratch.paths[name])
            published = {}
            for name, path in scratch.paths.items():
                file = scratch.written(name)
                published[name] = store.publish_first(path, name, file)
                derived.winners[name] = published[name].open("rb") if file.closed else file
            facts = self.describe(unit, published, derived) if self.describe is not None else {}
            for name, path in list(derived.paths.items()):
                store.replace(path, name, derived.written(name))
                derived.published(name, store.moves)
            files = {
                name: dict(zip(("bytes", "sha256"), size_and_sha256_of(file), strict=True))
                for name, file in derived.winners.items()
            }
            store.settle()
            if unit.name in status.disproved:
                keep_superseded(store, unit)
            record = Done(unit.name, unit.inputs, files, facts, progress.tally.pieces_at_hand)
            write_record(store, record)
            if unit.name in status.failed:
                forget_failed(store, unit)
            return record
        except Interrupted:
            raise
        except Exception as error:
            store.blame(error)
            raise
        finally:
            scratch.remove()
            derived.remove()


def _make_way(store: Store, name: str, new: Path) -> None:
    """For a file that has another size than its record says. One that was cut short goes: the new file begins with all of it.

    Any other was changed by somebody, and is kept beside it under another name.
    """
    with store.open(name) as old, new.open("rb") as file:
        while part := old.read(_COMPARED_BYTES):
            if part != file.read(len(part)):
                break
        else:
            store.remove(name)
            return
    kept = f"{name}.changed-{secrets.token_hex(4)}"
    store.move(name, kept)
    _log.warning("%s/%s was changed since it was written; it is kept as %s", store.where, name, kept)


def read_tally(store: Store, worker: int) -> Tally | None:
    """What a worker said last."""
    try:
        return parse_tally(store.read(_tally_name(worker)))
    except FileNotFoundError:
        return None


def note_death(store: Store, plan: MapPlan, worker: int, tally: Tally | None) -> str | None:
    """The unit that this worker's last process died of, if it did; one death more is recorded unless it is done since.

    tally: what it said last.
    """
    unit = next((unit for unit in plan.units if tally is not None and unit.name == tally.at), None)
    if tally is None or unit is None:
        return None
    if not is_done(store, unit):
        before = read_failed(store, unit)
        tries, deaths = (before.tries, before.deaths + 1) if before is not None else (0, 1)
        reason = f"the process died while working on it, {deaths} times (no memory, or a library crashed)"
        write_record(store, Failed(unit.name, reason, "", unit.inputs, deaths=deaths, tries=tries))
    store.note(_tally_name(worker), json.dumps(asdict(replace(tally, at=""))))
    return unit.name


def _refuse_foreign_note(store: Store, worker: int) -> None:
    """The tally is written in place: somebody else's file of that name would be gone. Raises UserError."""
    try:
        text = store.read(_tally_name(worker)).strip(b"\0 \n")
    except FileNotFoundError:
        return
    try:
        found = json.loads(text) if text else None
        is_ours = not found or (isinstance(found, dict) and found.keys() >= {"unit", "done", "total"})
    except ValueError:  # perhaps a part of a tally
        is_ours = text.startswith(b"{")
    if not is_ours:
        what = "is not a tally that mlseg wrote here, and would be overwritten"
        raise UserError(what, f"{store.where}/{_tally_name(worker)}", "Move it away, or choose another folder.")


def _tally_name(worker: int) -> str:
    return f"progress/{worker}.json"
