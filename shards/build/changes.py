"""Which slides have to be cut again, and why: today's inputs against those that the done records name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlseg_core.map import Done, Unit
from mlseg_core.records import missing_files, read_all_done
from mlseg_core.store import Store, open_store

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


@dataclass(frozen=True)
class Change:
    """One slide. action: `cut` (new, changed or failed before), `keep`, `drop` (no longer in the table)."""

    slide: str
    action: Literal["cut", "keep", "drop"]
    why: str


def changes(todo: list[Unit], out: Path | str) -> list[Change]:
    """What a build would do now, in the table's order, then what is dropped. Reads only."""
    store = open_store(out)
    records = _records(store)
    gone = missing_files(store, (Done(**record) for record in records.values()))
    found = []
    for unit in todo:
        record = records.get(unit.name)
        if record is None:
            found.append(Change(unit.name, "cut", "it is not cut yet"))
        elif record["inputs"] == unit.inputs and unit.name not in gone:
            found.append(Change(unit.name, "keep", ""))
        elif record["inputs"] == unit.inputs:
            found.append(Change(unit.name, "cut", "a file of it is gone or cut short"))
        else:
            old, new = record["facts"]["inputs"], unit.payload[2]
            names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            found.append(Change(unit.name, "cut", "; ".join(_WHY.get(name, name) for name in names)))
    wanted = {unit.name for unit in todo}
    return found + [Change(name, "drop", "it is not in the slide table") for name in sorted(set(records) - wanted)]


def _records(store: Store) -> dict[str, dict[str, Any]]:
    """Slug -> done record, of whatever inputs."""
    return {name: vars(record) for name, record in read_all_done(store).items()}
