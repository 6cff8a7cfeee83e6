"""Where learning finds and leaves things in a run folder (docs/design.md, "Run folder")."""

from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import read_json


def shards_folder(run: Path) -> Path:
    return run / "data" / "shards"


def labels_folder(run: Path, round_number: int) -> Path:
    """Labels of round K, made by step K - 1 as teacher, for step K (rounds count from 1)."""
    return run / "data" / f"labels-{round_number}"


def styled_folder(run: Path) -> Path:
    """Views of the train split in other data sources' styles."""
    return run / "data" / "styled"


def generators_folder(run: Path) -> Path:
    """What makes those views: a generator of each pair of styles."""
    return run / "data" / "generators"


def counts_folder(run: Path) -> Path:
    """Counts of the campaign's own evaluation, one file a slide and step."""
    return run / "data" / "evaluation"


def evaluations_folder(run: Path) -> Path:
    """What `mlseg evaluate` makes beside it."""
    return run / "evaluations"


def phase_folder(run: Path, name: str) -> Path:
    """`phases/NN-name`. Raises UserError when there is none."""
    found = [path for path in sorted((run / "phases").glob(f"[0-9][0-9]-{name}")) if path.is_dir()]
    if not found:
        raise UserError(f"no phase {name!r}", run / "phases", "Run the campaign up to it first.")
    return found[0]


def teacher_record(run: Path, step_name: str) -> dict[str, Any]:
    """`teacher.json` of a finished step: weights (file name in the phase folder), sha256, step, miou; operating_point."""
    path = phase_folder(run, step_name) / "teacher.json"
    if not path.exists():
        raise UserError(f"step {step_name} has no teacher yet", path, "Let its training finish first.")
    found = read_json(path)
    if not isinstance(found, dict) or not found.keys() >= {"weights", "sha256"}:
        raise UserError("is not the record of a teacher", path, "Restore the file, or train the step again.")
    return found
