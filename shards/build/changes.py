"""Which slides have to be cut again, and why: today's inputs against those that the done records name."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlseg_core.config import validate
from mlseg_core.map import Done
from mlseg_core.records import missing_files
from mlseg_core.store import Store, open_store
from shards.build.known_slides import KNOWN_SLIDES
from shards.build.plan import CutPlan, read_records
from shards.build.publish import QUARANTINE
from shards.manifest import Manifest
from shards.seeds import seeds_name

_WHY = {
    "recipe": "the code cuts differently now",
    "row": "its row in the slide table changed",
    "slide": "the slide file changed",
    "annotation": "its annotation changed",
    "class map": "the class map changed for classes that it uses",
    "priority": "the priority of classes that it uses changed",
    "class caps": "the caps of classes that it uses changed",
    "views": "resolution, size or quality of the views changed",
    "sampling": "the sampling changed",
    "tissue": "the tissue detection changed",
    "audit": "the audit changed",
}


_LOST = "a file of it is gone or cut short"


@dataclass(frozen=True)
class Change:
    """One slide. action: `cut` (new, changed or failed before), `keep`, `drop` (no longer in the table)."""

    slide: str
    action: Literal["cut", "keep", "drop"]
    why: str


def changes(plan: CutPlan, out: Path | str) -> list[Change]:
    """What a build of this plan would do now, in the table's order, then what is dropped. Reads only."""
    store = open_store(out)
    records = read_records(store)
    gone = missing_files(store, (Done(**record) for record in records.values()))
    found = []
    for unit in plan.units:
        record = records.get(unit.name)
        if record is not None and record["inputs"] == unit.inputs:
            lost = unit.name in gone
            found.append(Change(unit.name, "cut" if lost else "keep", _LOST if lost else ""))
        elif unit.name in plan.corrected:
            found.append(Change(unit.name, "cut", plan.corrected[unit.name]))
        elif record is None:
            found.append(Change(unit.name, "cut", "it is not cut yet"))
        else:
            old, new = record["facts"]["inputs"], plan.counted.get(unit.name, unit.payload[2])
            names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            found.append(Change(unit.name, "cut", "; ".join(_WHY.get(name, name) for name in names)))
    wanted = {unit.name for unit in plan.units}
    return found + [Change(name, "drop", "it is not in the slide table") for name in sorted(set(records) - wanted)]


def superseded(out: Path | str) -> list[str]:
    """Files of earlier builds that the manifest no longer names."""
    store = open_store(out)
    manifest = validate(json.loads(store.read("manifest.json")), Manifest, store.where)
    stems = {shard.name.removesuffix(".tar") for shard in manifest.shards}
    stems |= {slide.overview.removesuffix(".json") for slide in manifest.slides if slide.overview}
    kept = {"manifest.json", QUARANTINE, "index.html", seeds_name(manifest), KNOWN_SLIDES}
    names = [name for name in _files(store) if name not in kept]
    return sorted(name for name in names if _stem(name) not in stems)


def _files(store: Store) -> list[str]:
    return [*store.sizes(), *(f"overview/{name}" for name in store.sizes("overview"))]


def _stem(name: str) -> str:
    folder, slash, last = name.rpartition("/")
    return f"{folder}{slash}{last.partition('.')[0]}"


def prune(out: Path | str) -> list[str]:
    """Remove them. Only when nothing reads the corpus through an older manifest any more."""
    store, names = open_store(out), superseded(out)
    for name in names:
        store.remove(name)
    return names
