"""What came of the slides: a line each for people, and quarantine.csv for those that could not be predicted. Loads no torch."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from mlseg_core.csv_text import write_rows
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import read_done
from mlseg_core.exactly_once.run import Failed, Unit
from mlseg_core.files import write_atomic
from mlseg_core.own import refuse_foreign, starts_with
from mlseg_core.store import open_store
from mlseg_dist.prediction.plan import SUMMARY, file_of

QUARANTINE, _HEAD = "quarantine.csv", ("slide", "reason")
_BAD = "BadSlide: "


def check_out(out: Path, taken: Iterable[Path] = ()) -> None:
    """Before any work: slides' folders can be written there. taken: folders of a run's own files. Raises UserError."""
    if out == Path():
        raise UserError("no folder is named", "--out", "Name one.")
    place = out.resolve()
    if any(folder.resolve() in (place, *place.parents) for folder in taken):
        raise UserError("the campaign's own files lie there", out, "Name another folder with --out.")
    there = next(path for path in (place, *place.parents) if path.exists())
    if not there.is_dir():
        raise UserError("is a file, not a folder", there, "Name another folder with --out.")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError("nothing may be written there", there, "Name another folder with --out.")
    refuse_foreign([out / QUARANTINE], _is_ours)


def write_quarantine(units: Sequence[Unit], failed: Sequence[Failed], out: Path) -> list[str]:
    """Write quarantine.csv, or remove that of an earlier call where all went well. Returns a line a slide."""
    slides = {unit.name: unit.payload.slide.slide for unit in units}
    rows = [(str(slides[one.unit]), one.reason.removeprefix(_BAD)) for one in failed]
    path = out / QUARANTINE
    refuse_foreign([path], _is_ours)
    if rows:
        write_atomic(path, write_rows([_HEAD, *rows]).encode(errors="backslashreplace"))
    else:
        path.unlink(missing_ok=True)
    return [f"{slide}: quarantined. {reason}" for slide, reason in rows]


def lines(units: Sequence[Unit], out: Path) -> list[str]:
    """For each slide that is done its areas, its warnings and its folder."""
    store, said = open_store(out), []
    for unit in units:
        done = read_done(store, unit)
        if done is None:
            continue
        facts = done.facts
        areas = ", ".join(f"{name} {area:.2f}" for name, area in facts["areas_mm2"].items())
        said.append(f"{facts['slide']}: tissue {facts['tissue_mm2']:.2f} mm² ({areas})")
        said += [f"  warning: {warning}" for warning in facts["warnings"]]
        said.append(f"  {(out / file_of(unit, SUMMARY)).parent}")
    return said


def _is_ours(path: Path) -> bool:
    try:
        return starts_with(path, write_rows([_HEAD]).encode())
    except OSError:
        return False
