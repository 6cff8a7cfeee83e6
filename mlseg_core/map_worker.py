"""One worker's part of a map: looks at every unit, does those that are not done, records what came of it.

In: the plan, a store, the worker's number. Out: published files with their records, failures, a tally of progress.
"""

import json
import secrets
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlseg_core.errors import Interrupted
from mlseg_core.files import fingerprint, sha256_file
from mlseg_core.progress import Progress, Tally, parse_tally
from mlseg_core.records import (
    Done,
    Failed,
    Scratch,
    Standing,
    Unit,
    forget_failed,
    read_done,
    read_failed,
    write_record,
)
from mlseg_core.store import DestinationError, Store, open_store

Work = Callable[[Unit, Scratch], None]
"""Computes a unit into scratch.file(name) for each output name. A pure function of the unit."""
Describe = Callable[[Unit, dict[str, Path], Scratch], dict[str, Any]]
"""describe(unit, files, derived) -> facts (counts) read from the published files.

files: output name -> local path of the winner's file.  derived: a Scratch for files that follow from them (an index);
they get their names after the call, replacing what is there, and are not part of the record.
"""


def is_done(folder: Path | str | Store, unit: Unit) -> bool:
    """True when the unit is done from the same inputs and its files are there."""
    store = open_store(folder)
    record = read_done(store, unit)
    return record is not None and all(store.size(name) == fact["bytes"] for name, fact in record.files.items())


def own_slice_then_tail(count: int, worker: int, workers: int) -> list[int]:
    """Order in which a worker looks at units: its own contiguous slice forwards, then all others from the tail."""
    own = _slice(count, worker, workers)
    return [*own, *(i for i in reversed(range(count)) if i not in own)]


def _slice(count: int, worker: int, workers: int) -> range:
    return range(worker * count // workers, (worker + 1) * count // workers)


@dataclass(frozen=True)
class Plan:
    """What is to be done, as every worker gets it."""

    units: Sequence[Unit]
    do: Work
    folder: Path | str
    describe: Describe | None
    label: str
    progress_unit: str
    piece_unit: str

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
        if life == 0:  # what failed in an earlier run gets another chance; what killed a process counts its deaths
            for index in _slice(len(self.units), worker, workers):
                failed = read_failed(store, self.units[index])
                if failed is not None and failed.is_final:
                    forget_failed(store, self.units[index])
            note_death(store, self, worker)
        standing = Standing(store, self.units)
        progress = self._progress(store, worker, prints)
        order = own_slice_then_tail(len(self.units), worker, workers)
        try:
            return self._work_through(store, order, stop, standing, progress, tag or secrets.token_hex(6))
        except (DestinationError, Interrupted):
            raise
        except Exception as error:  # no unit's: those are recorded
            store.blame(error)
            raise
        finally:
            progress.finish()

    def _progress(self, store: Store, worker: int, prints: bool) -> Progress:
        def save(text: str) -> None:
            store.write(_tally_name(worker), text)

        progress = Progress(
            self.label, len(self.units), self.progress_unit, save=save, save_every_s=store.patience_s, prints=prints
        )
        progress.tally.plan, progress.tally.piece_unit = self.key, self.piece_unit
        return progress

    def _work_through(
        self,
        store: Store,
        order: Sequence[int],
        stop: Callable[[], bool],
        standing: Standing,
        progress: Progress,
        tag: str,
    ) -> list[Failed]:
        failures = []
        queue, put_off = deque(order), set()
        progress.place(**standing.figures())
        while queue:
            index = queue.popleft()
            unit = self.units[index]
            if unit.name in standing.done or is_done(store, unit):
                continue
            known = read_failed(store, unit)
            if known is not None and known.is_final:
                continue
            if known is not None and index not in put_off:  # it killed a process: everything else comes first
                put_off.add(index)
                queue.append(index)
                continue
            if stop():
                raise Interrupted(f"{self.label}: stopped before unit {unit.name}")
            progress.begin(unit.name)
            try:
                standing.add(self._do(store, unit, progress, tag))
                progress.finished(unit.cost)
            except (DestinationError, Interrupted):
                raise
            except Exception as error:  # a bad slide must not end the night
                if not is_done(store, unit):
                    failures.append(Failed.of(unit, error, traceback.format_exc()))
                    write_record(store, failures[-1])
                    standing.failed.add(unit.name)
            standing.refresh()
            progress.place(**standing.figures(), pieces_at_hand=0, at="")
        return failures

    def _do(self, store: Store, unit: Unit, progress: Progress, tag: str) -> Done:
        scratch, derived = Scratch(store.scratch, tag, progress.advance_pieces), Scratch(store.scratch, tag)
        try:
            self.do(unit, scratch)
            old = read_done(store, unit)
            for name, fact in old.files.items() if old is not None else ():
                if store.size(name) not in (None, fact["bytes"]):
                    store.remove(name)  # cut short since it was published
            published = {name: store.publish_first(path, name) for name, path in scratch.paths.items()}
            facts = self.describe(unit, published, derived) if self.describe is not None else {}
            for name, path in derived.paths.items():
                store.replace(path, name)
            files = {name: {"bytes": p.stat().st_size, "sha256": sha256_file(p)} for name, p in published.items()}
            record = Done(unit.name, unit.inputs, files, facts, progress.tally.pieces_at_hand)
            write_record(store, record)
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


def read_tally(store: Store, worker: int) -> Tally | None:
    """What a worker said last."""
    try:
        return parse_tally(store.read(_tally_name(worker)))
    except FileNotFoundError:
        return None


def note_death(store: Store, plan: Plan, worker: int) -> str | None:
    """The unit that this worker's last process died of, if it did; one death more is recorded unless it is done since."""
    tally = read_tally(store, worker)
    unit = next((unit for unit in plan.units if tally is not None and unit.name == tally.at), None)
    if tally is None or unit is None:
        return None
    if not is_done(store, unit):
        before = read_failed(store, unit)
        deaths = 1 + (before.deaths if before is not None else 0)
        reason = f"the process died while working on it, {deaths} times (no memory, or a library crashed)"
        write_record(store, Failed(unit.name, reason, "", unit.inputs, deaths=deaths))
    store.write(_tally_name(worker), json.dumps(asdict(replace(tally, at=""))))
    return unit.name


def _tally_name(worker: int) -> str:
    return f"progress/{worker}.json"
