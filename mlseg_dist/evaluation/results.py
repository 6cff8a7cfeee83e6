"""Files of counts, proven complete: units in, SlideCounts and what could not be scored out."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import Done, missing_files, read_done
from mlseg_core.exactly_once.run import Incomplete, Unit
from mlseg_core.store import open_store
from mlseg_dist.evaluation.overview import OverviewMap
from mlseg_dist.evaluation.plan import Pass
from mlseg_dist.evaluation.slide_counts import SlideCounts


@dataclass(frozen=True)
class Result:
    """A unit that is done. folder: where its files lie. sha256: of its counts. not_scored: why there are none, or ""."""

    one: Pass
    name: str
    folder: Path
    sha256: str
    not_scored: str

    @property
    def slug(self) -> str:
        return self.one.scored.slide.slug

    def counts(self) -> SlideCounts:
        """Reads them. Raises UserError for a file that changed since it was written."""
        return SlideCounts.from_json(self._facts()["counts"])

    def place(self) -> dict[str, Any]:
        """rows, columns: of the map, in cells. mpp: of the slide's level 0, µm/px (x, y)."""
        found: dict[str, Any] = self._facts()["map"]
        return found

    def overview(self) -> OverviewMap:
        return OverviewMap.decode((self.folder / f"{self.name}.png").read_bytes())

    def _facts(self) -> dict[str, Any]:
        path = self.folder / f"{self.name}.json"
        data = path.read_bytes()
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise UserError("the counts changed since they were written", path, "Remove the file; it is made again.")
        found: dict[str, Any] = json.loads(data)
        return found


class StoredCounts(Mapping[tuple[str, str], SlideCounts]):
    """(slug, step) -> counts, read when they are asked for: those of all slides need not fit into memory."""

    def __init__(self, results: Sequence[Result]) -> None:
        self._results = {(one.slug, one.one.step_name): one for one in results if not one.not_scored}

    def __getitem__(self, key: tuple[str, str]) -> SlideCounts:
        return self._results[key].counts()

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._results)

    def __len__(self) -> int:
        return len(self._results)


def split_done(units: Sequence[Unit], folders: Sequence[Path]) -> tuple[list[Result], list[Unit]]:
    """Units that are done in one of the folders, and those that are done in none. Changes nothing."""
    by_name = {unit.name: unit for unit in units}
    found: dict[str, Result] = {}
    for folder in folders:
        if not folder.is_dir():
            continue
        store = open_store(folder)
        records = [record for unit in units if (record := read_done(store, unit)) is not None]
        missing = missing_files(store, records)
        for record in records:
            if record.unit not in missing:
                found.setdefault(record.unit, _result(by_name[record.unit], record, folder))
    return [found[unit.name] for unit in units if unit.name in found], [u for u in units if u.name not in found]


def proven(units: Sequence[Unit], folders: Sequence[Path]) -> list[Result]:
    """One a unit, in their order. Raises map.Incomplete."""
    found, left = split_done(units, folders)
    if left:
        raise Incomplete([unit.name for unit in left], folders[-1])
    return found


def _result(unit: Unit, record: Done, folder: Path) -> Result:
    sha256 = record.files[f"{record.unit}.json"]["sha256"]
    return Result(unit.payload, record.unit, folder, sha256, str(record.facts.get("not_scored", "")))
