"""A finished run -> one small JSON row: all that comparisons need of it. Torch-free.

Rows are committed: they name patients and slides by numbers, in the order of the evaluation, which is the same for all arms.
"""

from pathlib import Path
from typing import Any

from launch.run_folder import RunFolder
from launch.sweep.config import Arm
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, sha256_file, write_json

VERSION = 1


def row_of(arm: Arm, run: RunFolder) -> dict[str, Any]:
    """Raises UserError when the run has no evaluation."""
    found = sorted(run.path.glob("phases/*-evaluate/evaluation.json"))
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
        facts = read_json(path)["facts"]
        known = ("round", "teacher", "accepted", "rejected", "drawn", "accepting", "expected")
        rounds.append({name: facts[name] for name in known if name in facts})
    return rounds


def _core_hours(run: RunFolder) -> float:
    """The wall time of the phases that this run did itself, each times the number of its processes."""
    total = 0.0
    for path in run.path.glob("phases/*/done.json"):
        done = read_json(path)
        if "adopted_from" not in done:
            total += done["seconds"] * max(1, len(list(path.parent.glob("tasks/*.json"))))
    return total / 3600


def read_rows(folder: Path) -> list[dict[str, Any]]:
    """All rows in the folder. Raises UserError for a file that is not a row."""
    rows = [read_json(path) for path in sorted(folder.glob("*.json"))]
    for path, row in zip(sorted(folder.glob("*.json")), rows, strict=True):
        if not isinstance(row, dict) or row.get("version") != VERSION or "slides" not in row:
            raise UserError("not a row of a sweep", path, "Move it away, or run its arm again.")
    return rows


def write_row(folder: Path, arm: Arm, row: dict[str, Any]) -> Path:
    path = folder / f"{arm.key}.json"
    write_json(path, row)
    return path
