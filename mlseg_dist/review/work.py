"""A review from start to end: score, choose, write. In: a finished or half-done campaign. Out: the folder, and a summary."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlseg_core.errors import UserError
from mlseg_dist.config import LearningConfig
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.review.choosing import Region, choose
from mlseg_dist.review.files import (
    PAGE,
    TABLE,
    check_folder,
    geojson,
    geojson_name,
    slides_by_slug,
    table,
    write_review,
)
from mlseg_dist.review.page import page
from mlseg_dist.review.scores import REASONS, Reason, best_patches, rounds_to_compare
from mlseg_dist.run_folder import labels_folder, shards_folder

_SPARE = 4
"""Patches kept a slide and reason, for each region that the budget allows: some lie on others."""


@dataclass(frozen=True)
class Review:
    """What was written. rounds: numbers of those that were compared, the judged one last."""

    folder: Path
    regions: list[Region]
    rounds: list[int]

    @property
    def slides(self) -> int:
        return len({region.patch.ref.slide for region in self.regions})

    @property
    def reasons(self) -> Counter[Reason]:
        return Counter(region.reason for region in self.regions)

    @property
    def area_mm2(self) -> float:
        return sum(region.area_mm2 for region in self.regions)


def review(
    config: LearningConfig,
    name: str,
    run: Path,
    folder: Path,
    budget_mm2: float,
    newest: int | None = None,
    reasons: Sequence[Reason] = REASONS,
    workers: int = 1,
) -> Review:
    """Write what people should look at next into `folder`. newest: the round to judge by; None: the newest.

    Raises UserError when there is no round, when the budget is smaller than one region, or when `folder` holds something else.
    """
    check_folder(folder)
    rounds = rounds_to_compare(run, newest)
    corpus = Corpus(shards_folder(run), config.training_classes, labels_folder(run, rounds[-1]))
    patch_um = config.train.patch_px * corpus.manifest.views["high_mpp"]
    area = (patch_um / 1000) ** 2
    if budget_mm2 < area:
        raise UserError(f"{budget_mm2:g} mm² is less than one region", "--budget", f"Give {area:.3f} or more.")
    most = max(8, _SPARE * int(budget_mm2 / area))
    patches = best_patches(run, config.training_classes, config.train.patch_px, rounds, most, workers)
    slides = slides_by_slug(corpus.manifest)
    regions = choose(patches, slides, patch_um, budget_mm2, reasons)
    if not regions:
        raise UserError("nothing to review", run, "The rounds agree with each other, with people, and are sure.")
    high_mpp = corpus.manifest.views["high_mpp"]
    files = {
        PAGE: page(name, regions, slides, corpus, config.train.patch_px, budget_mm2, _remarks(rounds, reasons)),
        TABLE: table(regions, slides),
    }
    for slug in sorted({region.patch.ref.slide for region in regions}):
        of_slide = [region for region in regions if region.patch.ref.slide == slug]
        files[geojson_name(slug)] = geojson(of_slide, slides[slug], high_mpp)
    facts = {"rounds": rounds, "budget_mm2": budget_mm2, "reasons": list(reasons)}
    write_review(folder, files, {**facts, "regions": len(regions)})
    return Review(folder, regions, rounds)


def _remarks(rounds: Sequence[int], reasons: Sequence[Reason]) -> list[str]:
    if len(rounds) == 1 and "disagreement" in reasons:
        return [f"Only round {rounds[0]} has labels, so no two rounds could be compared."]
    return []
