"""Predictions of tiny runs in this process."""

from pathlib import Path

from mlseg_core.exactly_once.run import Failed, Unit, run_units
from mlseg_dist.prediction import work
from mlseg_dist.prediction.plan import units
from mlseg_dist.teachers.of_run import teacher_of_run
from mlseg_dist.teachers.teacher import Teacher
from shards.slide_table import Slide
from tests.mlseg_dist.tiny_run import MPP, SLIDES, TinyRun
from tests.shards.slides_for_tests import shards_config


def teacher_of(run: TinyRun, step: int = 1) -> Teacher:
    return teacher_of_run(run.config, step, run.path, shards_config())


def slide_of(run: TinyRun, number: int) -> Path:
    return run.path.parent / "slides" / f"{SLIDES[number][0]}.tif"


def named(path: Path, mpp: float | None = MPP, stain: str = "", scanner: str = "") -> Slide:
    """A slide that a person names."""
    return Slide(path, "", stain, scanner, "", "", None, mpp, None)


def predicted(teacher: Teacher, slides: list[Slide], out: Path) -> tuple[list[Unit], list[Failed]]:
    todo = units(teacher, slides)
    return todo, run_units(todo, work.predict, out, describe=work.describe)
