"""Evaluating where only a bundle is: a bundle and a person's slide table -> the subject and slides of an evaluation.

The engine is that of a run's evaluation, with the run's settings, which the bundle records: the same slides give the same figures.
Loads no torch.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_core.files import fingerprint, sha256_file
from mlseg_dist.config import FACTORS, LearningConfig
from mlseg_dist.evaluation.operating_point import OperatingPoint, ThresholdSource
from mlseg_dist.evaluation.plan import ScoredSlide, Subject
from mlseg_dist.teachers.evaluated import EvaluationFacts
from mlseg_dist.teachers.teacher import Teacher
from shards.cutting import check_slides
from shards.cutting.identity import slide_identity
from shards.manifest import Manifest
from shards.slide_table import Slide, read_slide_table

if TYPE_CHECKING:
    from mlseg_dist.inference import Predictor

SPLITS = ("val", "test", "dev-unseen")
"""Splits of the table that are scored. `final-unseen` is opened with the run alone, which records each opening."""
_THREADS = 8


@dataclass(frozen=True)
class BundleSubject(Subject):
    """run: the bundle. table: the person's. teacher, settings: of the bundle. slides: all rows of the table."""

    teacher: Teacher
    settings: EvaluationFacts
    slides: tuple[Slide, ...]

    @property
    def corpus(self) -> Manifest:
        """What figures need of the corpus: views and classes. It lists no slides and no shards."""
        views = self.teacher.config.views
        return Manifest(
            kind="corpus",
            fingerprint="",
            members=(),
            classes=tuple(self.shards.fine_classes),
            views={"high_mpp": views.high_mpp, "low_mpp": views.low_mpp, "store_px": float(views.px)},
            shards=(),
            totals={},
        )

    @property
    def corpus_sha256(self) -> str:
        return self.teacher.config.corpus_sha256

    @property
    def majority(self) -> int:
        return self.settings.majority

    @property
    def keeps_patches(self) -> bool:
        return False

    def teacher_sha256(self, step: str) -> str:
        return self.teacher.config.weights_sha256

    def point(self, step: str) -> OperatingPoint:
        own = self.teacher.config.operating
        source: Any = own.source
        if self.config.evaluate.threshold is not None:
            return OperatingPoint(self.config.evaluate.threshold, own.temperature, "config")
        return OperatingPoint(
            own.threshold, own.temperature, source if source in get_args(ThresholdSource) else "default"
        )

    def predictor(self, step: int) -> "Predictor":
        from mlseg_dist.teachers.network import kept_network

        return kept_network(self.teacher)

    def facts(self, splits: Sequence[str]) -> dict[str, dict[str, Any]]:
        seen = {factor: set(getattr(self.teacher.config.seen, factor)) for factor in FACTORS}
        return {
            slide.slug: {
                "slide": slide.slide.name,
                **{name: getattr(slide, name) for name in ("patient", "split", *FACTORS)},
                "unseen": [factor for factor in FACTORS if getattr(slide, factor) not in seen[factor]],
            }
            for slide in self.slides
            if slide.split in splits
        }


def bundle_subject(
    teacher: Teacher, settings: EvaluationFacts, table: Path, splits: Sequence[str], changes: Mapping[str, Any]
) -> BundleSubject:
    """splits: () for all that the table has. changes: keys of `evaluate` from the command line. Raises UserError."""
    slides = tuple(read_slide_table(table))
    known = [split for split in SPLITS if any(one.split == split and one.annotation for one in slides)]
    for split in splits:
        if split not in SPLITS:
            fix = "Evaluate it with the run, which records its opening." if split == "final-unseen" else ""
            raise UserError(
                f"a bundle is not evaluated on {split}", "--split", fix or f"There are: {', '.join(SPLITS)}."
            )
        if split not in known:
            raise UserError(f"no annotated slide of {split}", table, "Fill in its columns split and annotation.")
    if not known:
        what = f"no annotated slide of {', '.join(SPLITS)}"
        raise UserError(what, table, "Fill in the column annotation, and `test` as the split of your own slides.")
    shards = teacher.config.shards
    subject = BundleSubject(
        _config(teacher, settings, splits or known, changes), teacher.place, shards, table, teacher, settings, slides
    )
    teacher.check_view(subject.view_px, "--view-px")
    return subject


def _config(
    teacher: Teacher, settings: EvaluationFacts, splits: Sequence[str], changes: Mapping[str, Any]
) -> LearningConfig:
    """The campaign as far as an evaluation reads it; learning rates and the like have no meaning here."""
    config = teacher.config
    step = {
        "name": config.step,
        "model": config.model.model_dump(mode="json"),
        "epochs": 1,
        "lr": 1e-3,
        "weights": "static",
        "label": {"threshold": 0.5},
    }
    evaluate = {
        "splits": list(splits),
        "batch": config.batch,
        "view_px": settings.view_px,
        "overlap": settings.overlap,
        "boundary_um": settings.boundary_um,
        **changes,
    }
    raw = {
        "name": config.campaign,
        "seed": settings.seed,
        "training_classes": config.training_classes,
        "steps": [step],
        "train": {"precision": config.precision, "threads": config.threads},
        "evaluate": evaluate,
    }
    return validate(raw, LearningConfig, "command line" if changes else teacher.place)


def table_slides(subject: BundleSubject) -> list[ScoredSlide]:
    """The annotated slides of the wanted splits, in the table's order. Raises UserError for a slide or annotation that is bad."""
    wanted = [
        one for one in subject.slides if one.split in subject.config.evaluate.splits and one.annotation is not None
    ]
    bad = check_slides(subject.shards, subject.table)
    first = next((bad[one.slug] for one in wanted if one.slug in bad), None)
    if first is not None:
        raise first

    def look(slide: Slide) -> ScoredSlide:
        assert slide.annotation is not None
        try:
            inputs = {"slide": slide_identity(slide.slide), "annotation": sha256_file(slide.annotation)}
            size = slide.slide.stat().st_size
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", error.filename, "Check its permissions.") from None
        read = {"row": [slide.mpp, slide.mpp_override, slide.origin], "shards": subject.shards.model_dump(mode="json")}
        return ScoredSlide(slide, slide.split, {**inputs, "read": fingerprint(read)}, size)

    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(look, wanted))
