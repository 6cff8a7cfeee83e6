"""All figures of one step on one split, from its cohort."""

from typing import Any

import numpy as np

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.evaluation.cohort import Cohort
from mlseg_dist.evaluation.figures import iou, mean_iou, ratios, surface_dice
from mlseg_dist.evaluation.intervals import (
    Resamples,
    area_intervals,
    interval,
    intervals_by_class,
    iou_intervals,
    mean_interval,
)

BAD_REGIONS = ("fold", "bubble", "blur", "artefact")
"""Fine classes that spoil tissue."""


def split_figures(cohort: Cohort, resamples: Resamples) -> dict[str, Any]:
    """Pooled over cells; and means over slides and over patients of their own figures."""
    of_patients = cohort.by_patient(cohort.confusions)
    each = np.arange(len(cohort.patients))
    return {
        "pooled": pooled(cohort, of_patients, resamples),
        "per_slide": _means(cohort.confusions, cohort.of_patient, resamples),
        "per_patient": _means(of_patients, each, resamples),
    }


def pooled(cohort: Cohort, confusion_P33: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """Figures of all cells together, with intervals over patients."""
    whole = confusion_P33.sum(axis=0)
    value, drawn = ratios(whole), ratios(resamples.sums(confusion_P33))
    true, answered = (confusion_P33.sum(axis=axis) > 0 for axis in (-1, -2))
    there = true.any(axis=1)
    elsewhere = np.stack([np.delete(true, place, axis=1).any(axis=1) for place in range(len(CLASSES))], axis=1)
    holders = {name: true.sum(axis=0) for name in ("iou", "dice", "recall")}
    holders |= {"precision": answered.sum(axis=0), "specificity": elsewhere.sum(axis=0)}
    borders = cohort.surface[..., 0] > 0
    return {
        **iou_intervals(confusion_P33, resamples),
        "accuracy": interval(value["accuracy"], drawn["accuracy"], int(there.sum())),
        **{
            name: intervals_by_class(value[name], drawn[name], holders[name])
            for name in ("dice", "precision", "recall", "specificity")
        },
        **area_intervals(cohort.histograms, resamples),
        "surface_dice": intervals_by_class(
            surface_dice(cohort.surface.sum(axis=0)),
            surface_dice(resamples.sums(cohort.surface)),
            borders.sum(axis=0),
        ),
        "confusion": whole.tolist(),
    }


def _means(confusions: np.ndarray, of_patient: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    each = iou(confusions)
    return {
        "miou": mean_interval(mean_iou(confusions), of_patient, resamples),
        "iou": {name: mean_interval(each[:, place], of_patient, resamples) for place, name in enumerate(CLASSES)},
    }


def fine_figures(cohort: Cohort, names: tuple[str, ...], resamples: Resamples) -> dict[str, Any]:
    """Fine class -> its cells, what they were called, and the share called by the training class that it belongs to."""
    called_PF3 = cohort.by_patient(cohort.called)
    found = {}
    for place, name in enumerate(names):
        rows = called_PF3[:, place]
        if rows.any() and cohort.class_of[place] != IGNORED:
            right = np.stack([rows[:, cohort.class_of[place]], rows.sum(axis=1)], axis=1)
            total = rows.sum(axis=0)
            found[name] = {
                "pixels": int(total.sum()),
                "called": dict(zip(CLASSES, total.tolist(), strict=True)),
                "recall": _share(right, resamples),
            }
    return found


def bad_regions(cohort: Cohort, names: tuple[str, ...], resamples: Resamples) -> dict[str, Any]:
    """Spoiled tissue, all kinds together and each: the share that is called by the training class that it belongs to."""
    fine = fine_figures(cohort, names, resamples)
    kinds = [name for name in BAD_REGIONS if name in fine]
    right = cohort.by_patient(bad_region_counts(cohort, names))
    return {
        "pixels": int(right[:, 1].sum()),
        "recall": _share(right, resamples),
        "each": {name: {key: fine[name][key] for key in ("pixels", "recall")} for name in kinds},
    }


def bad_region_counts(cohort: Cohort, names: tuple[str, ...]) -> np.ndarray:
    """Cells of spoiled tissue that are called rightly, and all of them, for each slide, int64 (S, 2)."""
    right = np.zeros((len(cohort.slugs), 2), np.int64)
    for place, name in enumerate(names):
        if name in BAD_REGIONS and cohort.class_of[place] != IGNORED:
            rows = cohort.called[:, place]
            right += np.stack([rows[:, cohort.class_of[place]], rows.sum(axis=1)], axis=1)
    return right


def _share(right_P2: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """right_P2: cells called rightly, and all cells, of each patient."""
    with np.errstate(invalid="ignore", divide="ignore"):
        hit, total = np.moveaxis(np.concatenate([right_P2.sum(axis=0)[None], resamples.sums(right_P2)]), -1, 0)
        shares = hit / total
    return interval(shares[0], shares[1:], int((right_P2[:, 1] > 0).sum()))
