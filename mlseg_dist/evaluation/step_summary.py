"""What one step's counts come to: figures by split, domain and patient. One step's histograms are in memory at a time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mlseg_dist.config import CLASSES
from mlseg_dist.evaluation.calibration import calibration
from mlseg_dist.evaluation.cohort import Cohort, Counts, Facts, read_step
from mlseg_dist.evaluation.domains import domain_slides, domains
from mlseg_dist.evaluation.figures import curve, short_rows
from mlseg_dist.evaluation.intervals import Resamples
from mlseg_dist.evaluation.split_figures import bad_region_counts, bad_regions, fine_figures, split_figures

PARTS = ("figures", "fine", "bad_regions", "calibration", "curves")


@dataclass(frozen=True)
class StepSummary:
    """parts: each of PARTS -> split -> its content.  confusions: split -> slug -> (3, 3).  bad_regions: split -> slug -> cells of
    spoiled tissue, (rightly called, all).  slides: slug -> figures.

    patients: split -> patient -> its slides and figures.  unanswered: slug -> cells.  cross_fit: how many val patients, and their
    thresholds; None where val figures are not cross-fitted.
    """

    parts: dict[str, dict[str, Any]]
    confusions: dict[str, dict[str, np.ndarray]]
    bad_regions: dict[str, dict[str, np.ndarray]]
    slides: dict[str, dict[str, Any]]
    patients: dict[str, dict[str, dict[str, Any]]]
    unanswered: dict[str, int]
    domains: list[dict[str, Any]]
    cross_fit: dict[str, Any] | None


def summarise_step(
    step: str,
    teacher: Mapping[str, Any],
    counts: Counts,
    facts: Facts,
    splits: Sequence[str],
    names: tuple[str, ...],
    class_of: np.ndarray,
    seed: int,
) -> StepSummary:
    """names: of the fine classes; class_of: their training classes. teacher: its threshold, temperature and source."""
    cohorts, thresholds = read_step(step, teacher, counts, facts, splits, class_of)
    parts: dict[str, dict[str, Any]] = {part: {} for part in PARTS}
    for split, cohort in cohorts.items():
        resamples = Resamples(len(cohort.patients), seed, split)
        histograms = cohort.histograms.sum(axis=0)
        parts["figures"][split] = split_figures(cohort, resamples)
        parts["fine"][split] = fine_figures(cohort, names, resamples)
        parts["bad_regions"][split] = bad_regions(cohort, names, resamples)
        parts["calibration"][split] = calibration(cohort.log_odds, teacher["temperature"])
        parts["curves"][split] = {name: curve(histograms[place]) for place, name in enumerate(CLASSES)}
    confusions = {split: cohort.by_slug for split, cohort in cohorts.items()}
    scored = {slug: matrix for of in confusions.values() for slug, matrix in of.items()}
    held_out = {slug: scored[slug] for slug in domain_slides(facts, splits) if slug in scored}
    return StepSummary(
        parts=parts,
        confusions=confusions,
        bad_regions={
            split: dict(zip(cohort.slugs, bad_region_counts(cohort, names), strict=True))
            for split, cohort in cohorts.items()
        },
        slides={slug: row for cohort in cohorts.values() for slug, row in _slides(cohort).items()},
        patients={split: _patients(cohort) for split, cohort in cohorts.items()},
        unanswered={slug: cells for cohort in cohorts.values() for slug, cells in cohort.unanswered.items()},
        domains=domains(held_out, facts, seed),
        cross_fit=None if thresholds is None else {"patients": len(cohorts["val"].patients), "thresholds": thresholds},
    )


def _patients(cohort: Cohort) -> dict[str, dict[str, Any]]:
    slides: list[list[str]] = [[] for _ in cohort.patients]
    for slug, place in zip(cohort.slugs, cohort.of_patient, strict=True):
        slides[place].append(slug)
    rows = zip(cohort.patients, slides, short_rows(cohort.by_patient(cohort.confusions)), strict=True)
    return {patient: {"slides": own, "figures": figures} for patient, own, figures in rows}


def _slides(cohort: Cohort) -> dict[str, dict[str, Any]]:
    """Slug -> figures of the slide alone."""
    rows = zip(cohort.slugs, cohort.confusions, short_rows(cohort.confusions), strict=True)
    return {slug: {**figures, "confusion": matrix.tolist()} for slug, matrix, figures in rows}
