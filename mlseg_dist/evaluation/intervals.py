"""Intervals from a bootstrap over patients: slides of one patient are alike, so patients are what is drawn anew.

A resample is a weight for each patient: how often the patient was drawn. Figures of resamples are figures of weighted sums of the
patients' counts, so two networks are compared on the same draws (paired). The ends of an interval are percentiles of the resampled
figures, expanded as Hesterberg (2015, The American Statistician 69, 371) has it: with few patients the plain ones are too narrow.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import sqrt
from statistics import NormalDist
from typing import Any

import numpy as np

from mlseg_core.randomness import generator
from mlseg_dist.config import CLASSES
from mlseg_dist.evaluation.figures import areas, iou, mean_over, number

RESAMPLES = 2000
LEAST_PATIENTS = 5
"""With fewer there is no interval: so few cannot say how patients differ."""
CONFIDENCE = 0.95
AREA_GROUPS = 100
"""Bins into which a histogram's 1001 are joined for resampling areas under curves, of equal share each; figures use all."""

_UNITS = 2**36
"""Figures of slides are summed in whole units of 1 / 2^36, so that sums are exact in any order, on any processor."""


class Resamples:
    """Weights of so many patients in each resample, float64 (2000, patients): whole numbers, so that sums are exact.

    They depend on the seed, the names and the number of patients, on nothing else: networks that are scored on the same patients
    share them. None are drawn below five patients.
    """

    def __init__(self, patients: int, seed: int, *names: str) -> None:
        self.patients = patients
        self.weights = _weights(patients, generator(seed, "bootstrap", *names))

    def sums(self, values: np.ndarray) -> np.ndarray:
        """(patients, …) -> (resamples, …)"""
        return np.tensordot(self.weights, values.astype(float), axes=1)


def _weights(patients: int, random: np.random.Generator) -> np.ndarray:
    if patients < LEAST_PATIENTS:
        return np.empty((0, patients))
    drawn = random.integers(patients, size=(RESAMPLES, patients))
    drawn += patients * np.arange(RESAMPLES)[:, None]
    return np.bincount(drawn.ravel(), minlength=RESAMPLES * patients).reshape(RESAMPLES, patients).astype(float)


@lru_cache
def percentiles(patients: int) -> tuple[float, float]:
    """Percentiles of the resampled figures at which a 95 % interval ends: 2.5 and 97.5 for many patients, farther out for few.

    Resamples vary by n - 1 where a sample's variance divides by n, and few patients estimate it badly: both as in Student's t.
    """
    tail = NormalDist().cdf(-sqrt(patients / (patients - 1)) * student_t(patients - 1))
    return 100 * tail, 100 * (1 - tail)


def student_t(freedom: int) -> float:
    """The quantile of Student's t that a two-sided 95 % interval takes, to .001 from four degrees of freedom on."""
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    terms = (  # of the expansion around the normal distribution, Abramowitz & Stegun 26.7.5
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def interval(value: Any, resampled: np.ndarray, patients: int) -> dict[str, Any]:
    """A figure with its 95 % interval, for JSON. resampled: (resamples,), nan where a resample says nothing.

    patients: that the figure speaks of; below five low and high are None.
    """
    known = resampled[~np.isnan(resampled)]
    low = high = None
    if patients >= LEAST_PATIENTS and len(known) and not np.isnan(value):
        low, high = (float(end) for end in np.percentile(known, percentiles(patients)))
    return {"value": number(value), "low": low, "high": high, "patients": patients}


def intervals_by_class(
    values: np.ndarray, resampled: np.ndarray, patients: Sequence[int] | np.ndarray
) -> dict[str, Any]:
    """values: (3,); resampled: (resamples, 3); patients: of each class, those who have it."""
    return {
        name: interval(values[place], resampled[:, place], int(patients[place])) for place, name in enumerate(CLASSES)
    }


def mean_interval(values: np.ndarray, of_patient: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """Mean over slides (or patients) of their own figures, those that have one, with its interval; patients are drawn.

    values: (S,), nan where there is no figure. of_patient: number of each one's patient.
    """
    known = ~np.isnan(values)
    sums = np.zeros((resamples.patients, 2), np.int64)
    whole = np.rint(values[known] * _UNITS).astype(np.int64)
    np.add.at(sums, of_patient[known], np.stack([whole, np.ones_like(whole)], axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        value = np.divide(*sums.sum(axis=0)) / _UNITS
        drawn = resamples.sums(sums)
        found = interval(value, drawn[:, 0] / drawn[:, 1] / _UNITS, int((sums[:, 1] > 0).sum()))
    return {**{key: found[key] for key in ("value", "low", "high")}, "n": int(known.sum())}


def iou_intervals(confusion_P33: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """miou and iou, pooled over patients, each with its interval."""
    value, drawn = iou(confusion_P33.sum(axis=0)), iou(resamples.sums(confusion_P33))
    return _iou_rows(value, drawn, confusion_P33)


def iou_differences(before_P33: np.ndarray, after_P33: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """miou and iou of after minus before, pooled over the same patients, each with its paired interval."""
    both = (before_P33, after_P33)
    before, after = (iou(confusion.sum(axis=0)) for confusion in both)
    drawn_before, drawn_after = (iou(resamples.sums(confusion)) for confusion in both)
    return _iou_rows(after - before, drawn_after - drawn_before, before_P33)


def share_difference(before_P2: np.ndarray, after_P2: np.ndarray, resamples: Resamples) -> dict[str, Any]:
    """A share of after minus that of before, over the same patients, with its paired interval. Of each patient: hits and all."""
    both = [np.concatenate([one.sum(axis=0)[None], resamples.sums(one)]) for one in (before_P2, after_P2)]
    with np.errstate(invalid="ignore", divide="ignore"):
        before, after = (one[:, 0] / one[:, 1] for one in both)
    return interval((after - before)[0], (after - before)[1:], int((before_P2[:, 1] > 0).sum()))


def _iou_rows(value_3: np.ndarray, drawn_R3: np.ndarray, confusion_P33: np.ndarray) -> dict[str, Any]:
    """The mean of differences is the difference of means: both run over the classes that are annotated."""
    there = confusion_P33.sum(axis=-1) > 0
    classes = there.any(axis=0)
    return {
        "miou": interval(mean_over(value_3, classes), mean_over(drawn_R3, classes), int(there.any(axis=1).sum())),
        "iou": intervals_by_class(value_3, drawn_R3, there.sum(axis=0)),
    }


def area_intervals(histogram_P: np.ndarray, resamples: Resamples) -> dict[str, dict[str, Any]]:
    """auc and average_precision -> class -> interval. histogram_P: (patients, 3, 2, 1001).

    Resamples join bins into about a hundred groups that hold equal shares of cells, which moves areas by less than the last digit
    that anybody quotes; the figures themselves use all bins.
    """
    whole = histogram_P.sum(axis=0)
    value = areas(whole)
    patients = (histogram_P[:, :, 1].sum(axis=-1) > 0).sum(axis=0)
    drawn = []
    for place in range(len(CLASSES)):
        joined = np.add.reduceat(histogram_P[:, place], equal_groups(whole[place]), axis=-1)
        drawn.append(areas(resamples.sums(joined)))
    return {
        name: intervals_by_class(value[name], np.stack([one[name] for one in drawn], axis=-1), patients)
        for name in value
    }


def equal_groups(histogram: np.ndarray, groups: int = AREA_GROUPS) -> np.ndarray:
    """First bins of groups that hold about equal shares, the two sides of a histogram (2, bins) weighing the same."""
    shares = histogram / np.maximum(histogram.sum(axis=-1, keepdims=True), 1)
    before = np.concatenate([[0.0], np.cumsum(shares.mean(axis=0))[:-1]])
    group = np.floor(before * groups + 1e-9)
    return np.flatnonzero(np.diff(group, prepend=-1.0))
