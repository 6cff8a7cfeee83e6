"""A finished run -> one small JSON row: all that comparisons need of it. Torch-free.

Rows are committed: they name patients and slides by numbers, in the order of the evaluation, which is the same for all arms.
Campaigns with equal settings have equal results, so that a row is found wherever a sweep left it: `human-only` is run once.
"""

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from launch.run_folder import TASK_FILE, RunFolder
from launch.sweep.config import Arm
from mlseg_core.errors import UserError
from mlseg_core.files import own_files, read_json, sha256_file, write_atomic

VERSION = 1
_NUMBERED = re.compile(r"\d\d+-[a-z]")
"""How the folder of a phase begins."""


def row_of(arm: Arm, run: RunFolder) -> dict[str, Any]:
    """Raises UserError when the run has no evaluation."""
    found = [
        path for path in sorted(run.path.glob("phases/*-evaluate/evaluation.json")) if _NUMBERED.match(path.parent.name)
    ]
    if not found:
        raise UserError("the run has no evaluation", run.path, "Let its phase `evaluate` finish.")
    evaluation = read_json(found[0])
    patients = {
        name: number for number, name in enumerate(sorted({s["patient"] for s in evaluation["slides"].values()}))
    }
    return {
        "version": VERSION,
        "arm": arm.name,
        "seed": arm.seed,
        "overrides": list(arm.overrides),
        "config": arm.fingerprint,
        "evaluation_sha256": sha256_file(found[0]),
        "corpus_sha256": evaluation["corpus_sha256"],
        "steps": evaluation["steps"],
        "own_steps": [step.name for step in arm.config.steps if not step.control],
        "core_hours": round(_core_hours(run), 3),
        "slides": [_slide(slide, patients) for _, slide in sorted(evaluation["slides"].items())],
        "labels": _labels(run),
    }


def _slide(slide: dict[str, Any], patients: dict[str, int]) -> dict[str, Any]:
    """The slide's confusion of each step as nine integers; rows are the truth."""
    facts = {name: slide[name] for name in ("split", "stain", "scanner", "source")}
    confusions = {
        step: [count for row in figures["confusion"] for count in row] for step, figures in slide["figures"].items()
    }
    return {"patient": patients[slide["patient"]], **facts, "confusions": confusions}


def _labels(run: RunFolder) -> list[dict[str, Any]]:
    """One entry a round of labels: pixels that its teacher accepted, by class; pairs that can be drawn; the thresholds; and how
    often the accepted pixels are expected to be right."""
    rounds = []
    for path in sorted(run.data.glob("labels-[0-9]*/manifest.json")):
        if not path.parent.name.removeprefix("labels-").isdecimal():
            continue
        facts = read_json(path)["facts"]
        known = ("round", "teacher", "accepted", "rejected", "drawn", "accepting", "expected")
        rounds.append({name: facts[name] for name in known if name in facts})
    return rounds


def _core_hours(run: RunFolder) -> float:
    """The wall time of the phases that this run did itself, each times the number of its processes."""
    total = 0.0
    for path in run.path.glob("phases/*/done.json"):
        if not _NUMBERED.match(path.parent.name):
            continue
        done = read_json(path)
        if "adopted_from" not in done:
            total += done["seconds"] * max(1, len(own_files(path.parent / "tasks", TASK_FILE)))
    return total / 3600


def rows_of(arms: Sequence[Arm], folder: Path) -> list[dict[str, Any]]:
    """The rows of those arms that have one, in the arms' order.

    An arm's row lies in `folder`, or under any name in a sweep's folder beside it if that campaign had equal settings; then the
    row's `found_in` says where. Raises UserError for a file that is no row, and for a row in `folder` that was made with other
    settings.
    """
    own = {path.stem: (path, row) for path, row in _rows_in(folder)}
    others = {row["config"]: (path, row) for path, row in _rows_beside(folder)}
    found = []
    for arm in arms:
        if arm.key in own:
            path, row = own[arm.key]
            if row["config"] != arm.fingerprint:
                fix = "Move it away to run the arm again, or restore the sweep file."
                raise UserError("the row was made with other settings", path, fix)
            found.append(row)
        elif arm.fingerprint in others:
            path, row = others[arm.fingerprint]
            place = f"{path.parent.name}/{path.name}"
            found.append({**row, "arm": arm.name, "overrides": list(arm.overrides), "found_in": place})
    return found


def _rows_beside(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Rows of other sweeps. Whatever else lies in the folders beside is somebody else's, and passed over."""
    for path in sorted(folder.parent.glob("[!.]*/[!.]*.json")):
        if path.parent.name != folder.name and path.is_file():
            with suppress(UserError, OSError):
                yield path, _read_row(path)


def _rows_in(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in own_files(folder, r"[a-z0-9][a-z0-9-]*-\d+\.json"):  # Arm.key
        yield path, _read_row(path)


def _read_row(path: Path) -> dict[str, Any]:
    row = read_json(path)
    if not isinstance(row, dict) or row.get("version") != VERSION or not {"slides", "config"} <= row.keys():
        raise UserError("not a row of a sweep", path, "Move it away, or run its arm again.")
    return row


def write_row(folder: Path, arm: Arm, row: dict[str, Any]) -> Path:
    """Write the row, one line a slide, so that a committed row is short and a change in it is seen."""
    path = folder / f"{arm.key}.json"
    write_atomic(path, _text(row))
    return path


def _text(row: dict[str, Any]) -> str:
    return "{\n" + ",\n".join(f"{json.dumps(key)}: {_value(value)}" for key, value in row.items()) + "\n}\n"


def _value(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n " + ",\n ".join(json.dumps(item) for item in value) + "\n]"
    return json.dumps(value)
