"""Counting pixels: probabilities and labels in; confusion counts, histograms of scores and the figures made of them out.

Pure functions. Labels are training classes 0, 1, 2; 255 is ignored everywhere. A confusion matrix has the truth in its
rows and the prediction in its columns, int64 px.
"""

from typing import Any

import numpy as np

from mlseg_dist.config import CLASSES, IGNORED

COUNT = len(CLASSES)
BINS = 101
"""Bin k of a histogram holds scores in [k/100, (k + 1)/100); the last one holds 1.0 only."""


def decide(probabilities_BCHW: np.ndarray, threshold: float) -> np.ndarray:
    """Classes uint8 (B, H, W): the strongest class at or above the threshold, else background.

    IGNORED where a probability is no number: that is not background.
    """
    best, strongest = probabilities_BCHW.argmax(axis=1), probabilities_BCHW.max(axis=1)
    decided = np.where(strongest >= threshold, best, 0)
    return np.where(np.isnan(strongest), IGNORED, decided).astype(np.uint8)


def confusions(truth_BHW: np.ndarray, predicted_BHW: np.ndarray) -> np.ndarray:
    """One matrix a sample, int64 (B, 3, 3). Pixels without a truth or without an answer do not count."""
    batch = len(truth_BHW)
    sample = np.arange(batch).reshape(-1, *[1] * (truth_BHW.ndim - 1))
    cell = (sample * COUNT + truth_BHW.astype(np.int64)) * COUNT + predicted_BHW
    known = (truth_BHW != IGNORED) & (predicted_BHW != IGNORED)
    counts = np.bincount(cell[known], minlength=batch * COUNT * COUNT)
    return counts.astype(np.int64).reshape(batch, COUNT, COUNT)


def iou(confusion: np.ndarray) -> np.ndarray:
    """IoU per class, float (..., 3); nan for a class that occurs in neither truth nor prediction."""
    hit = np.diagonal(confusion, axis1=-2, axis2=-1)
    union = confusion.sum(axis=-1) + confusion.sum(axis=-2) - hit
    return _ratio(hit, union)


def mean_iou(confusion: np.ndarray) -> np.ndarray:
    """Mean of the IoUs over the classes that occur in truth or prediction, float (...); nan when none does."""
    each = iou(confusion)
    occurs = ~np.isnan(each)
    return _ratio(np.where(occurs, each, 0.0).sum(axis=-1), occurs.sum(axis=-1))


def figures(confusion: np.ndarray) -> dict[str, Any]:
    """All figures of one matrix (3, 3), for JSON: None where a figure is not defined."""
    hit = np.diagonal(confusion)
    return {
        "miou": _number(mean_iou(confusion)),
        "iou": by_class(iou(confusion)),
        "accuracy": _number(_ratio(hit.sum(), confusion.sum())),
        "precision": by_class(_ratio(hit, confusion.sum(axis=0))),
        "recall": by_class(_ratio(hit, confusion.sum(axis=1))),
        "confusion": confusion.tolist(),
    }


def per_slide_figures(confusions_S33: np.ndarray) -> dict[str, Any]:
    """Means over slides of the slides' own figures; a slide counts for a class that occurs on it, in truth or prediction."""
    each = iou(confusions_S33)
    occurs = ~np.isnan(each)
    means = _ratio(np.where(occurs, each, 0.0).sum(axis=0), occurs.sum(axis=0))
    slide_means = mean_iou(confusions_S33)
    known = slide_means[~np.isnan(slide_means)]
    return {"miou": _number(known.mean() if len(known) else np.nan), "iou": by_class(means)}


def constant(truth_pixels: np.ndarray, answer: int) -> np.ndarray:
    """The confusion matrix of a model that always answers one class. truth_pixels: (3,) px."""
    out = np.zeros((COUNT, COUNT), np.int64)
    out[:, answer] = truth_pixels
    return out


def curves(histogram: np.ndarray) -> dict[str, Any]:
    """One class against the rest, from its histogram (2, 101): figures at the thresholds k/100, and areas.

    Precision where nothing is predicted is 1, as in scikit-learn. auc: trapezoids under the ROC curve;
    average_precision: sum of precision times gain of recall.
    """
    negatives, positives = (np.cumsum(side[::-1])[::-1] for side in histogram)  # at or above each threshold
    total_negative, total_positive = histogram[0].sum(), histogram[1].sum()
    if not total_negative or not total_positive:
        return {"positives": int(total_positive), "negatives": int(total_negative)}
    recall, fall_out = positives / total_positive, negatives / total_negative
    predicted = positives + negatives
    precision = np.where(predicted > 0, positives / np.maximum(predicted, 1), 1.0)
    x, y = np.append(fall_out, 0.0)[::-1], np.append(recall, 0.0)[::-1]
    gain = recall - np.append(recall[1:], 0.0)
    return {
        "positives": int(total_positive),
        "negatives": int(total_negative),
        "threshold": [k / (BINS - 1) for k in range(BINS)],
        "precision": _rounded(precision),
        "recall": _rounded(recall),
        "specificity": _rounded(1 - fall_out),
        "iou": _rounded(positives / (total_positive + negatives)),
        "auc": float(np.trapezoid(y, x)),
        "average_precision": float((precision * gain).sum()),
    }


def bootstrap_gain(
    base_S33: np.ndarray, last_S33: np.ndarray, random: np.random.Generator, resamples: int = 2000
) -> dict[str, Any]:
    """mIoU of last minus base, pooled over slides, with the 95 % interval of a paired bootstrap that draws slides."""
    slides = len(base_S33)
    draws = random.multinomial(slides, np.full(slides, 1 / slides), size=resamples)
    pooled = [np.tensordot(draws, matrices, axes=1) for matrices in (base_S33, last_S33)]
    gains = mean_iou(pooled[1]) - mean_iou(pooled[0])
    gains = gains[~np.isnan(gains)]
    gain = mean_iou(last_S33.sum(axis=0)) - mean_iou(base_S33.sum(axis=0))
    low, high = np.percentile(gains, [2.5, 97.5]) if len(gains) else (np.nan, np.nan)
    return {"gain": _number(gain), "low": _number(low), "high": _number(high), "slides": slides, "resamples": resamples}


def by_class(values: np.ndarray) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(CLASSES, values, strict=True)}


def _ratio(over: Any, under: Any) -> np.ndarray:
    over, under = np.asarray(over, float), np.asarray(under, float)
    return np.divide(over, under, out=np.full(over.shape, np.nan), where=under > 0)


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 6) for value in values]
