"""Slides and a teacher -> units of an exactly-once map, one a slide. Loads no torch.

A unit's name, which is that of its folder, ends with a hash of its inputs: the same slide with other settings lies beside it,
and with equal settings is not done again.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Unit
from mlseg_core.files import fingerprint
from mlseg_dist.teachers.teacher import Teacher
from mlseg_dist.whole_slide.grid import OVERLAP
from shards.cutting.identity import slide_identity
from shards.slide_table import Slide

RECIPE = 1
"""Raise it when the same inputs give other bytes."""
CLASSES_TIF, PROBABILITY_TIF = "classes.ome.tif", "probability.ome.tif"
REGIONS, HEATMAP, AREAS, SUMMARY = "regions.geojson", "heatmap.png", "areas.csv", "summary.json"
FILES = (CLASSES_TIF, PROBABILITY_TIF, REGIONS, HEATMAP, AREAS, SUMMARY)


@dataclass(frozen=True)
class Prediction:
    """A unit's payload. identity: of the slide when it was planned. everywhere: also where there is no tissue."""

    teacher: Teacher
    slide: Slide
    identity: str
    everywhere: bool = False


def units(teacher: Teacher, slides: Sequence[Slide], everywhere: bool = False) -> list[Unit]:
    """Slides that are the same, byte by byte and by name, are one unit. Raises UserError for a slide that cannot be read."""
    config = teacher.config
    teacher.check_view(config.views.px, "the views")
    inputs = {
        "recipe": RECIPE,
        "teacher": config.weights_sha256,
        "file": teacher.file_sha256,
        "model": config.model.model_dump(mode="json"),
        "operating": config.operating.model_dump(mode="json"),
        "precision": config.precision,
        "threads": config.threads or 1,
        "batch": config.batch,
        "views": config.views.model_dump(mode="json"),
        "overlap": OVERLAP,
        "everywhere": everywhere,
        "tissue": config.shards.tissue.model_dump(mode="json"),
        "audit": config.shards.audit.model_dump(mode="json"),
        "names": teacher.annotation_names,
        "seen": config.seen.model_dump(mode="json"),
    }
    made: dict[str, Unit] = {}
    for slide in slides:
        try:
            identity, cost = slide_identity(slide.slide), float(slide.slide.stat().st_size)
        except OSError as error:
            raise UserError(f"cannot be read ({error.strerror})", slide.slide, "Check its permissions.") from None
        own = [identity, slide.slug, slide.slide.name, slide.mpp, slide.mpp_override, slide.stain, slide.scanner]
        key = fingerprint({**inputs, "slide": own})
        unit = Unit(f"{slide.slug}-{key[:8]}", key, Prediction(teacher, slide, identity, everywhere), cost)
        made.setdefault(unit.name, unit)
    return list(made.values())


def file_of(unit: Unit, name: str) -> str:
    """Its name in the output folder. name: one of FILES."""
    return f"{unit.name}/{name}"
