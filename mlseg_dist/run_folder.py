"""Where learning finds and leaves things in a run folder (docs/design.md, "Run folder"). Loads no torch.

A folder whose sidecar shards (labels, styled views) were removed to make room keeps its manifest and gets a mark, cleaned.json.
"""

import json
import time
from pathlib import Path
from typing import Any

from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_json
from mlseg_core.own import refuse_foreign


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


_MARK = "cleaned.json"


def is_cleaned(folder: Path) -> bool:
    return (folder / _MARK).is_file() and _is_ours(folder / _MARK)


def _is_ours(path: Path) -> bool:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.keys() >= {"files", "bytes", "time"}


def mark_cleaned(folder: Path, files: int, size: int) -> None:
    """Before anything is removed. size: bytes. Raises UserError where a file of somebody else has the mark's name."""
    refuse_foreign([folder / _MARK], _is_ours)
    write_json(folder / _MARK, {"files": files, "bytes": size, "time": time.time()})


def forget_cleaned(folder: Path) -> None:
    """What was removed has been made again."""
    if is_cleaned(folder):
        (folder / _MARK).unlink(missing_ok=True)
