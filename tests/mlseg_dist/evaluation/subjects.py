"""Evaluations of tiny runs, in this process or in another one that is killed."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mlseg_core.config import validate
from mlseg_core.exactly_once.run import Unit, run_units
from mlseg_core.files import sha256_file
from mlseg_dist.config import LearningConfig
from mlseg_dist.evaluation import work
from mlseg_dist.evaluation.plan import Subject, scored_slides, units
from mlseg_dist.evaluation.publish import publish
from tests.mlseg_dist.tiny_run import TinyRun
from tests.shards.slides_for_tests import shards_config


def subject_of(run: TinyRun, **evaluate: Any) -> Subject:
    """evaluate: keys of its section."""
    raw = run.config.model_dump(mode="json")
    config = validate({**raw, "evaluate": {**raw["evaluate"], "pictures": 2, **evaluate}}, LearningConfig, "test")
    return Subject(config, run.path, shards_config(), run.path.parent / "slides" / "slides.csv")


def units_of(subject: Subject) -> list[Unit]:
    return units(subject, scored_slides(subject, subject.config.evaluate.splits))


def evaluated(subject: Subject, folder: Path, workers: Sequence[tuple[int, int]] = ((0, 1),)) -> dict[str, Any]:
    """evaluation.json, made in folder/out. workers: (number, of so many), one after the other."""
    todo = units_of(subject)
    for worker, count in workers:
        assert not run_units(todo, work.count, folder / "counts", describe=work.describe, worker=worker, workers=count)
    return publish(subject, todo, [folder / "counts"], folder / "out")


def digest(folder: Path) -> str:
    return sha256_file(folder / "out" / "evaluation.json")


def killed_at(strip: int, subject: Subject, folder: Path) -> "subprocess.CompletedProcess[str]":
    """A process that counts all units and kills itself at the so-many-th strip."""
    code = f"""
import os, pathlib, signal
from mlseg_core.config import validate
from mlseg_core.exactly_once.run import run_units
from mlseg_dist.config import LearningConfig
from mlseg_dist.evaluation import counting, work
from mlseg_dist.evaluation.plan import Subject, scored_slides, units
from tests.shards.slides_for_tests import shards_config

strips, add = [], counting.SlideCounter.add
def dies(self, strip, fine):
    strips.append(1)
    if len(strips) == {strip}:
        os.kill(os.getpid(), signal.SIGKILL)
    add(self, strip, fine)
counting.SlideCounter.add = dies
config = LearningConfig.model_validate_json({subject.config.model_dump_json()!r})
subject = Subject(config, pathlib.Path({str(subject.run)!r}), shards_config(), pathlib.Path({str(subject.table)!r}))
todo = units(subject, scored_slides(subject, config.evaluate.splits))
run_units(todo, work.count, {str(folder / "counts")!r}, describe=work.describe)
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
