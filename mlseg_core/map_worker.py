"""One worker's part of a map: looks at every unit, does those that are not done, records what came of it.

In: the plan, a store, the worker's number. Out: published files with their records, failures, a tally of progress.
"""

import json
import secrets
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from mlseg_core.errors import Interrupted
from mlseg_core.files import fingerprint, size_and_sha256
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

_LOOKS, _LOOKS_OF_ALL = 2, 512
"""A worker's looks at what others have done, while it does its own slice: so many, or its share of so many."""
_LISTING_S = 0.5
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
        own = _slice(len(self.units), worker, workers)
        died_of = note_death(store, self, worker) if life == 0 else None
        standing = Standing(store, self.units, [self.units[index].name for index in own])
        if life == 0:  # what failed in an earlier run gets another chance; what killed a process counts its deaths
            for unit in (self.units[index] for index in own):
                known = read_failed(store, unit) if unit.name in standing.failed and unit.name != died_of else None
                if known is not None and known.is_final:
                    forget_failed(store, unit)
                    standing.failed.discard(unit.name)
        progress = self._progress(store, worker, prints)
        looks = _Looks(standing, len(own), worker, workers)
        try:
            return self._work_through(store, own, looks, stop, progress, tag or secrets.token_hex(6), worker / workers)
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
        looks: "_Looks",
        stop: Callable[[], bool],
        progress: Progress,
        tag: str,
        place: float,
    ) -> list[Failed]:
        failures, standing = [], looks.standing
        given_up: set[int] = set()
        progress.place(**standing.figures())
        for index, is_own in self._order(store, own, looks, given_up, place):
            unit = self.units[index]
            if stop():
                raise Interrupted(f"{self.label}: stopped before unit {unit.name}")
            progress.begin(unit.name)
            try:
                standing.add(self._do(store, unit, progress, tag, standing))
                progress.finished(unit.cost)
            except (DestinationError, Interrupted):
                raise
            except Exception as error:  # a bad slide must not end the night
                given_up.add(index)
                if not is_done(store, unit):
                    failures.append(Failed.of(unit, error, traceback.format_exc()))
                    write_record(store, failures[-1])
                    standing.failed.add(unit.name)
            looks.after_a_unit(is_own)
            progress.place(**standing.figures(), pieces_at_hand=0, at="")
        return failures

    def _order(
        self, store: Store, own: Sequence[int], looks: "_Looks", given_up: set[int], place: float
    ) -> Iterator[tuple[int, bool]]:
        """(unit to do now, is it of this worker's slice): the slice first; then what nobody has done, each worker at another place.

        Those that steal begin at places of their own, lest they all do the same unit at the same time. What has killed a process
        comes after everything else.
        """
        standing = looks.standing
        for index in own:
            if self.units[index].name not in standing.done and self.units[index].name not in standing.failed:
                yield index, True
        standing.refresh(force=True)
        while True:
            left = [i for i in reversed(range(len(self.units))) if i not in given_up]
            left = [i for i in left if self.units[i].name not in standing.done]
            healthy = [i for i in left if self.units[i].name not in standing.failed]
            if not healthy:
                healthy = [i for i in left if not self._is_given_up(store, i, given_up)]
            if not healthy:
                return
            index = healthy[int(place * len(healthy))]
            if store.exists(f"done/{self.units[index].name}.json") and self.units[index].name not in standing.disproved:
                standing.refresh(force=True)
                if self.units[index].name not in standing.done:
                    time.sleep(_LISTING_S)  # a listing that the file system keeps from before
                continue
            yield index, False
            standing.refresh()

    def _is_given_up(self, store: Store, index: int, given_up: set[int]) -> bool:
        known = read_failed(store, self.units[index])
        if known is not None and known.is_final:
            given_up.add(index)
        return index in given_up

    def _do(self, store: Store, unit: Unit, progress: Progress, tag: str, standing: Standing) -> Done:
        scratch, derived = Scratch(store.scratch, tag, progress.advance_pieces), Scratch(store.scratch, tag)
        try:
            self.do(unit, scratch)
            old = standing.broken.get(unit.name)
            for name, fact in old.files.items() if old is not None else ():
                if store.size(name) not in (None, fact["bytes"]):
                    store.remove(name)  # cut short since it was published
            published = {}
            for name, path in list(scratch.paths.items()):
                published[name] = store.publish_first(path, name)
                scratch.published(name, store.moves)
            facts = self.describe(unit, published, derived) if self.describe is not None else {}
            for name, path in list(derived.paths.items()):
                store.replace(path, name)
                derived.published(name, store.moves)
            files = {
                name: dict(zip(("bytes", "sha256"), size_and_sha256(p), strict=True)) for name, p in published.items()
            }
            record = Done(unit.name, unit.inputs, files, facts, progress.tally.pieces_at_hand)
            write_record(store, record)
            if unit.name in standing.failed:
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


class _Looks:
    """When a worker looks what others have done: seldom in its own slice, as each look lists all records.

    Workers look in turns, so that what one knows of all is hardly older than a unit.
    """

    def __init__(self, standing: Standing, own: int, worker: int, workers: int) -> None:
        self.standing = standing
        self._every = max(1, own // max(_LOOKS, _LOOKS_OF_ALL // workers))
        self._units = worker % self._every

    def after_a_unit(self, is_own: bool) -> None:
        self._units += 1
        if is_own and self._units % self._every == 0:
            self.standing.refresh()


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
