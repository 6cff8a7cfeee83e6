"""Figures from counts: confusion matrices at a threshold, ratios of them, areas under curves, surface Dice.

Pure functions of integers. A confusion matrix has the truth in its rows and the answer in its columns. A figure is nan where it
is not defined; leading axes (slides, patients, resamples) are kept throughout.
"""

from typing import Any

import numpy as np

from mlseg_dist.config import CLASSES
from mlseg_dist.evaluation.slide_counts import BINS, COUNT, SURFACE, threshold_bin

PER_CLASS = ("iou", "dice", "precision", "recall", "specificity")
SHOWN = 101
"""Thresholds 0, .01, … 1 at which curves are kept for drawing."""


def called(answers: np.ndarray, threshold: float) -> np.ndarray:
    """What each fine class was called, int64 (F, 3). answers: (F, 3, 1001), as in SlideCounts.

    A cell is called its strongest class where that class' bin reaches the threshold, else background.
    """
    strong = answers[..., threshold_bin(threshold) :].sum(axis=-1)
    strong[..., 0] += answers.sum(axis=(-2, -1)) - strong.sum(axis=-1)
    return strong


def confusion_at_each(answers: np.ndarray) -> np.ndarray:
    """Confusion matrices at the thresholds k / 1000, int64 (1001, 3, 3). answers: (3, 3, 1001) of the training classes."""
    reached = np.cumsum(answers[..., ::-1], axis=-1)[..., ::-1]
    found = np.moveaxis(reached, -1, 0).copy()
    found[..., 0] = answers.sum(axis=(-2, -1)) - found[..., 1:].sum(axis=-1)
    return found


def by_training_class(fine_F: np.ndarray, class_of: np.ndarray) -> np.ndarray:
    """Sums of the rows of each training class: (F, …) -> (3, …). class_of: training class of each fine class, or IGNORED."""
    return np.stack([fine_F[class_of == number].sum(axis=0) for number in range(COUNT)])


def ratios(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """PER_CLASS (…, 3) and accuracy (…) of confusion matrices (…, 3, 3).

    IoU, Dice and recall of a class are defined where it is annotated, precision where the network calls something so, specificity
    where something else is annotated.
    """
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    true, answered = confusion.sum(axis=-1), confusion.sum(axis=-2)
    total = true.sum(axis=-1)
    there = true > 0
    others = total[..., None] - true
    return {
        "iou": iou(confusion),
        "dice": _ratio(2 * hit, np.where(there, true + answered, 0)),
        "precision": _ratio(hit, answered),
        "recall": _ratio(hit, true),
        "specificity": _ratio(others - (answered - hit), others),
        "accuracy": _ratio(hit.sum(axis=-1), total),
    }


def iou(confusion: np.ndarray) -> np.ndarray:
    """IoU of each class, (…, 3); nan for a class that is not annotated."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    true = confusion.sum(axis=-1)
    return _ratio(hit, np.where(true > 0, true + confusion.sum(axis=-2) - hit, 0))


def mean_over(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Mean of (…, 3) over the given classes, nan where one of them is: a resample without a class says nothing of the mean."""
    if not classes.any():
        return np.full(values.shape[:-1], np.nan)
    return values[..., classes].mean(axis=-1)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean IoU over the classes that are annotated in each matrix, (…); nan where none is."""
    each = iou(confusion)
    there = ~np.isnan(each)
    return _ratio(np.where(there, each, 0.0).sum(axis=-1), there.sum(axis=-1))


def one_against_rest(scores: np.ndarray) -> np.ndarray:
    """Histograms of each class' probability, int64 (…, 3, 2, 1001): [class, 0 others | 1 itself, bin]. scores: of SlideCounts."""
    own = np.stack([scores[..., number, number, :] for number in range(COUNT)], axis=-2)
    return np.stack([scores.sum(axis=-3) - own, own], axis=-2)


def areas(histogram: np.ndarray) -> dict[str, np.ndarray]:
    """auc and average_precision (…) of histograms (…, 2, bins), bins rising; nan where one side is empty.

    auc: trapezoids under the ROC curve. average_precision: sum over thresholds of precision times gain of recall.
    """
    negative, positive = (histogram[..., side, :].astype(float) for side in (0, 1))
    negatives, positives = negative.sum(axis=-1), positive.sum(axis=-1)
    below = np.cumsum(negative, axis=-1) - negative / 2
    auc = _ratio((positive * below).sum(axis=-1), positives * negatives)
    right, wrong = (np.cumsum(side[..., ::-1], axis=-1)[..., ::-1] for side in (positive, negative))
    precision = np.divide(right, right + wrong, out=np.zeros_like(right), where=right > 0)
    average = _ratio((precision * positive).sum(axis=-1), np.where(negatives > 0, positives, 0))
    return {"auc": auc, "average_precision": average}


def curve(histogram: np.ndarray) -> dict[str, Any]:
    """One class against the rest, from its histogram (2, 1001): figures at 101 thresholds, areas from all bins.

    Precision where nothing is predicted is 1, as in scikit-learn. Without cells on either side, lists are empty and areas None.
    """
    totals = histogram.sum(axis=-1)
    found: dict[str, Any] = {"positives": int(totals[1]), "negatives": int(totals[0])}
    found |= {name: [] for name in ("threshold", "precision", "recall", "specificity", "iou")}
    found |= {name: number(value) for name, value in areas(histogram).items()}
    if not totals.all():
        return found
    step = (BINS - 1) // (SHOWN - 1)
    wrong, right = (np.cumsum(side[::-1])[::-1][::step] for side in histogram)
    predicted = right + wrong
    return found | {
        "threshold": [k / (SHOWN - 1) for k in range(SHOWN)],
        "precision": _rounded(np.where(predicted > 0, right / np.maximum(predicted, 1), 1.0)),
        "recall": _rounded(right / totals[1]),
        "specificity": _rounded(1 - wrong / totals[0]),
        "iou": _rounded(right / (totals[1] + wrong)),
    }


def surface_dice(surface: np.ndarray) -> np.ndarray:
    """Share of both borders that lies within the tolerance of the other, (…, 3). surface: (…, 3, 4), as in SlideCounts.

    Defined where the class has a true border.
    """
    true, true_near, predicted, predicted_near = (surface[..., SURFACE.index(name)] for name in SURFACE)
    return _ratio(true_near + predicted_near, np.where(true > 0, true + predicted, 0))


def plain(confusion: np.ndarray) -> dict[str, Any]:
    """Figures of one matrix (3, 3) without intervals, for JSON."""
    found = ratios(confusion)
    return {
        "miou": number(mean_iou(confusion)),
        "accuracy": number(found["accuracy"]),
        **{name: by_class(found[name]) for name in PER_CLASS},
        "confusion": confusion.tolist(),
    }


def constant(true_pixels: np.ndarray, answer: int) -> np.ndarray:
    """The confusion matrix of a model that always answers one class. true_pixels: (3,)."""
    out = np.zeros((COUNT, COUNT), np.int64)
    out[:, answer] = true_pixels
    return out


def short_rows(confusions: np.ndarray) -> list[dict[str, Any]]:
    """miou and iou of each of many matrices (N, 3, 3) without intervals, for JSON."""
    rows = zip(mean_iou(confusions), iou(confusions), strict=True)
    return [{"miou": number(mean), "iou": by_class(each)} for mean, each in rows]


def by_class(values: np.ndarray) -> dict[str, float | None]:
    return {name: number(value) for name, value in zip(CLASSES, values, strict=True)}


def number(value: Any) -> float | None:
    """For JSON: nan becomes None."""
    return None if np.isnan(value) else float(value)


def _ratio(over: Any, under: Any) -> np.ndarray:
    """over / under, nan where under is 0; both of one shape."""
    return np.divide(over, under, out=np.full(np.shape(under), np.nan), where=np.greater(under, 0))


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]
