"""What a round measures of its teacher: by whichever worker comes first, written down beside the labels, read by all others."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from mlseg_core.files import fingerprint, publish_first, temporary_beside, write_atomic
from mlseg_dist.config import LearningConfig
from mlseg_dist.run_folder import teacher_record

Found = TypeVar("Found")


def question(config: LearningConfig, step_index: int, run: Path) -> str:
    """Fingerprint of the teacher and of how it is asked: what was measured for another question is measured anew."""
    step = config.steps[step_index]
    settings = step.label
    asked: list[Any] = [settings.measured_pairs, settings.stride, settings.tta, config.training_classes]
    if settings.adapts:
        asked += [settings.adapt, settings.align]
        if settings.align_strength != 1:  # what was asked before there was the key stays the same question
            asked.append(settings.align_strength)
    return fingerprint([teacher_record(run, step.name)["sha256"], asked])


def measured_once(path: Path, read: Callable[[], Found | None], measure: Callable[[], bytes]) -> Found:
    """What lies at `path`, or else is measured now; of many workers that measure, the file of the first stays.

    read: the file; None where there is none, or one of another question. measure: the file's content.
    """
    known = read()
    if known is not None:
        return known
    path.parent.mkdir(parents=True, exist_ok=True)
    content = measure()
    if path.exists():  # of another question, asked before an edit
        write_atomic(path, content)
    else:
        temporary = temporary_beside(path)
        temporary.write_bytes(content)
        publish_first(temporary, path)
    found = read()
    assert found is not None, path
    return found
