"""What an evaluation consists of: one unit a slide and step. Loads no torch, so that mistakes are reported at once.

The annotated slides of the wanted splits are evaluated, as they were when their patches were cut, except those in quarantine. A
unit's name ends with a hash of its inputs, so that units of other settings lie beside it in the same folder.
"""

import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Unit
from mlseg_core.files import fingerprint, sha256_file
from mlseg_core.store import open_store
from mlseg_dist.config import LearningConfig, StepConfig
from mlseg_dist.evaluation import operating_point
from mlseg_dist.evaluation.operating_point import OperatingPoint
from mlseg_dist.run_folder import shards_folder, teacher_record
from mlseg_dist.sides import check_side, fits
from mlseg_dist.whole_slide.grid import make_grid
from shards.config import ShardsConfig
from shards.cutting.identity import Known, file_state, read_known, slide_identity
from shards.manifest import Manifest, SlideEntry, kept_manifest
from shards.slide_table import Slide, read_slide_table

if TYPE_CHECKING:
    from mlseg_dist.inference import Predictor

RECIPE = 1
"""Raise it when the same inputs give other counts."""
_THREADS = 8  # slides may lie on a slow network


@dataclass(frozen=True)
class Subject:
    """A run as an evaluation sees it. shards: how its corpus was cut. table: the slide table that it was cut from."""

    config: LearningConfig
    run: Path
    shards: ShardsConfig
    table: Path

    @property
    def corpus(self) -> Manifest:
        return kept_manifest(shards_folder(self.run) / "manifest.json")

    @property
    def corpus_sha256(self) -> str:
        """Hash of the corpus manifest file, hex."""
        return sha256_file(shards_folder(self.run) / "manifest.json")

    @property
    def majority(self) -> int | None:
        """The training class with most labelled px in the train split; None: as the corpus says."""
        return None

    @property
    def keeps_patches(self) -> bool:
        """Whether the slides' patches are at hand, to draw examples from."""
        return True

    def teacher_sha256(self, step: str) -> str:
        """Raises UserError when the step has no teacher."""
        return str(teacher_record(self.run, step)["sha256"])

    def point(self, step: str) -> OperatingPoint:
        """Where the step's teacher is operated. Raises UserError when it has none."""
        return operating_point.of_teacher(self.run, step, self.config)

    def predictor(self, step: int) -> "Predictor":
        """The step's teacher, loaded once a process. Raises UserError."""
        from mlseg_dist.inference import kept_teacher

        return kept_teacher(self.config, step, self.run)

    def facts(self, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return name, patient, split and domain of the slides in these splits, by slug, in the form of summary.slide_facts."""
        from mlseg_dist.evaluation.summary import slide_facts

        return slide_facts(self.corpus, splits)

    @property
    def steps(self) -> list[StepConfig]:
        """Those to evaluate, in the campaign's order."""
        wanted = self.config.evaluate.steps
        return [step for step in self.config.steps if wanted is None or step.name in wanted]

    @property
    def own_steps(self) -> list[StepConfig]:
        """Those of the campaign itself, not of its controls; all where there is none of its own."""
        return [step for step in self.steps if not step.control] or self.steps

    @property
    def view_px(self) -> int:
        """Side of the views, px, the same for all steps."""
        corpus, chosen = self.corpus, self.config.evaluate.view_px
        if chosen is not None:
            for step in self.steps:
                check_side(step.model, corpus.ratio, chosen, "evaluate.view_px")
            return chosen
        stored = round(corpus.views["store_px"])
        return stored if all(fits(s.model, corpus.ratio, stored) for s in self.steps) else self.config.train.patch_px

    def facts_of_grid(self) -> dict[str, Any]:
        """What figures must share to be compared."""
        views, settings = self.corpus.views, self.config.evaluate
        grid = make_grid((1, 1), (1.0, 1.0), views, patch_px=self.view_px, overlap=settings.overlap)
        return {
            "cell_um": grid.cell_um,
            "view_px": grid.patch,
            "overlap": settings.overlap,
            "forwards_per_area": round(grid.forwards_per_area, 4),
        }


@dataclass(frozen=True)
class ScoredSlide:
    """A slide to evaluate. slide: its row, under the slug that it has in the corpus. inputs: what it was cut from, by part.

    pixels: annotated px of its patches, a measure of the work.
    """

    slide: Slide
    split: str
    inputs: dict[str, str]
    pixels: int


@dataclass(frozen=True)
class Pass:
    """A unit's payload: one network over one slide."""

    subject: Subject
    scored: ScoredSlide
    step: int
    teacher: str
    threshold: float
    view_px: int

    @property
    def step_name(self) -> str:
        return self.subject.config.steps[self.step].name


def taught(subject: Subject) -> Subject:
    """The same, of the wanted steps that have a teacher. Raises UserError if none has, or one that was named has none."""
    wanted = subject.config.evaluate.steps
    names = [step.name for step in subject.steps if wanted is not None or _has_teacher(subject.run, step.name)]
    if not names:
        raise UserError("no step has a teacher yet", subject.run, "Let the first training phase finish.")
    for name in names:
        teacher_record(subject.run, name)
    settings = subject.config.evaluate.model_copy(update={"steps": tuple(names)})
    return replace(subject, config=subject.config.model_copy(update={"evaluate": settings}))


def scored_slides(subject: Subject, splits: Sequence[str]) -> list[ScoredSlide]:
    """In the corpus' order. Raises UserError for a slide or annotation that is missing, or is not what was cut."""
    entries = [entry for entry in subject.corpus.slides if entry.split in splits and not entry.quarantined]
    table = read_slide_table(subject.table) if entries else []
    rows = {row.slug_before: replace(row, known_as=row.slug_before) for row in table}
    rows |= {row.slug: row for row in table}  # today's names go before those that an earlier recipe gave
    pixels: dict[str, int] = {}
    for shard in subject.corpus.of_splits(*splits):
        pixels[shard.slide] = pixels.get(shard.slide, 0) + sum(shard.pixels.values())
    known = read_known(open_store(shards_folder(subject.run)))

    def look(entry: SlideEntry) -> ScoredSlide | None:
        row = rows.get(entry.slug)
        if row is None:
            what = f"slide {entry.slide} of the corpus is not in the slide table"
            raise UserError(what, subject.table, "Put its row back, or build the shards again.")
        if row.annotation is None:
            return None
        inputs = _recorded(subject, entry.slug)
        _check_unchanged(row, inputs, known.get(entry.slug))
        return ScoredSlide(row, entry.split, inputs, pixels.get(entry.slug, 0))

    with ThreadPoolExecutor(_THREADS) as pool:
        found = list(pool.map(look, entries))
    return [one for one in found if one is not None]


def units(subject: Subject, slides: Sequence[ScoredSlide]) -> list[Unit]:
    """One unit a slide and step, step after step, so that a worker seldom changes its network. Raises UserError."""
    config, corpus, view_px = subject.config, subject.corpus, subject.view_px
    settings = config.evaluate
    make_grid(
        (1, 1), (1.0, 1.0), corpus.views, patch_px=view_px, overlap=settings.overlap
    )  # refuses what it cannot lay
    made = []
    for number, step in enumerate(config.steps):
        if step not in subject.steps:
            continue
        teacher = subject.teacher_sha256(step.name)
        threshold = subject.point(step.name).threshold
        inputs = {
            "recipe": RECIPE,
            "teacher": teacher,
            "threshold": threshold,
            "precision": config.train.precision,
            "threads": config.train.threads or 1,
            "batch": settings.batch,
            "grid": [view_px, settings.overlap, settings.boundary_um],
            "views": [corpus.views["high_mpp"], corpus.views["low_mpp"]],
            "classes": [corpus.classes, config.training_classes],
        }
        for scored in slides:
            key = fingerprint({**inputs, "slide": scored.inputs})
            payload = Pass(subject, scored, number, teacher, threshold, view_px)
            made.append(Unit(f"{scored.slide.slug}.{step.name}.{key[:8]}", key, payload, 1.0 + scored.pixels))
    return made


def no_slides(subject: Subject, splits: Iterable[str]) -> UserError:
    """For an evaluation that has nothing to score."""
    return UserError(
        f"no annotated slide of {', '.join(splits)}", shards_folder(subject.run), "Annotate slides of these splits."
    )


def _has_teacher(run: Path, step: str) -> bool:
    return bool(list(run.glob(f"phases/[0-9][0-9]-{step}/teacher.json")))


def _recorded(subject: Subject, slug: str) -> dict[str, str]:
    """The parts that the slide was cut from."""
    path = shards_folder(subject.run) / "done" / f"{slug}.json"
    try:
        inputs: dict[str, str] = json.loads(path.read_bytes())["facts"]["inputs"]
        return {str(name): str(value) for name, value in inputs.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        what = f"the record of how slide {slug} was cut is missing or damaged"
        raise UserError(what, path, "Restore it, or build the shards again.") from None


def _check_unchanged(row: Slide, inputs: dict[str, str], known: Known | None) -> None:
    """known: the slide as planning met it, so that one that was not touched since is not read."""
    assert row.annotation is not None
    again = "Put back what was cut, or build the shards again."
    try:
        untouched = known is not None and known.identity == inputs["slide"] and known.state == file_state(row.slide)
        if not untouched and slide_identity(row.slide, inputs["slide"]) != inputs["slide"]:
            raise UserError("the slide changed since its patches were cut", row.slide, again)
        if sha256_file(row.annotation) != inputs.get("annotation"):
            raise UserError("the annotation changed since the slide's patches were cut", row.annotation, again)
    except OSError as error:
        raise UserError(
            f"cannot be read ({error.strerror})", error.filename, "Check the file and its rights."
        ) from None
