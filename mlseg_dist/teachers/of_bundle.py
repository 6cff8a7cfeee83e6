"""The teacher in a bundle: a folder with `teacher.json` and `weights.safetensors` (docs/predict.md). Loads no torch."""

from pathlib import Path
from typing import Any

from mlseg_core.config import Strict, validate
from mlseg_core.errors import UserError
from mlseg_core.files import read_json
from mlseg_dist.teachers.evaluated import EvaluationFacts
from mlseg_dist.teachers.teacher import Sha256, Teacher, TeacherConfig

BUNDLE, WEIGHTS = "teacher.json", "weights.safetensors"
_KIND = "mlseg bundle"


class BundleFile(Strict):
    """`teacher.json` of a bundle. files: name -> sha256 of every other file of the bundle that programs read.

    evaluation: how the run evaluates; None in bundles of earlier versions.
    """

    kind: str = _KIND
    teacher: TeacherConfig
    files: dict[str, Sha256]
    evaluation: EvaluationFacts | None = None


def is_bundle(place: Path) -> bool:
    """Whether a folder, or the `teacher.json` in it, is a bundle of ours: a run folder has a campaign.yaml instead."""
    file = place / BUNDLE if place.is_dir() else place
    if not file.is_file() or file.name != BUNDLE:
        return False
    try:
        found: Any = read_json(file)
    except UserError:
        return False
    return isinstance(found, dict) and found.get("kind") == _KIND


def read_bundle(place: Path) -> Teacher:
    """Raises UserError for a bundle that is damaged or incomplete."""
    folder, file = _read(place)
    weights = folder / WEIGHTS
    if WEIGHTS not in file.files:
        raise UserError("names no weights", folder / BUNDLE, "Make the bundle again: mlseg bundle RUN --out DIR.")
    if not weights.is_file():
        raise UserError("the bundle's weights are missing", weights, "Copy the whole folder of the bundle.")
    return Teacher(file.teacher, weights, file.files[WEIGHTS], folder)


def read_evaluation(place: Path) -> EvaluationFacts:
    """How the run of the bundle evaluates. Raises UserError for a bundle of an earlier version."""
    folder, file = _read(place)
    if file.evaluation is None:
        what = "was made before bundles recorded how they are evaluated"
        raise UserError(what, folder / BUNDLE, "Make it again: mlseg bundle RUN --out DIR.")
    return file.evaluation


def _read(place: Path) -> tuple[Path, BundleFile]:
    folder = place if place.is_dir() else place.parent
    return folder, validate(read_json(folder / BUNDLE), BundleFile, folder / BUNDLE)
