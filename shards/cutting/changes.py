"""Which slides have to be cut again, and why: today's inputs against those that the done records name."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlseg_core.exactly_once.records import missing_files
from mlseg_core.exactly_once.run import Done
from mlseg_core.store import open_store
from shards.cutting.plan import CutPlan, read_records

_WHY = {
    "recipe": "the code cuts differently now",
    "row": "its row in the slide table changed",
    "slide": "the slide file changed",
    "annotation": "its annotation changed",
    "class map": "the class map changed for classes that it uses",
    "holes": "holes are cut from every region that they lie in now, not from the smallest alone",
    "priority": "the priority of classes that it uses changed",
    "class caps": "the caps of classes that it uses changed",
    "views": "resolution, size or quality of the views changed",
    "sampling": "the sampling changed",
    "tissue": "the tissue detection changed",
    "audit": "the audit changed",
}


_LOST = "a file of it is gone or cut short"
_UNLISTED = "it is not in the slide table"


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
        elif record is None and unit.name in plan.renamed:
            why = f"it, or what decides its samples, changed since it was cut as {plan.renamed[unit.name]}"
            found.append(Change(unit.name, "cut", why))
        elif record is None:
            found.append(Change(unit.name, "cut", "it is not cut yet"))
        else:
            old, new = record["facts"]["inputs"], plan.counted.get(unit.name, unit.payload[2])
            names = [name for name in {**old, **new} if old.get(name) != new.get(name)]
            found.append(Change(unit.name, "cut", "; ".join(_WHY.get(name, name) for name in names)))
    wanted = {unit.name for unit in plan.units}
    new_names = {old: new for new, old in plan.renamed.items()}
    gone_names = sorted(set(records) - wanted)
    whys = [f"its slide is called {new_names[name]} now" if name in new_names else _UNLISTED for name in gone_names]
    return found + [Change(name, "drop", why) for name, why in zip(gone_names, whys, strict=True)]
