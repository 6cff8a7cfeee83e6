"""Counting pixels: probabilities and labels in; confusion counts and histograms of scores out. Figures of them: figures.py.

Pure functions. Labels are training classes 0, 1, 2; 255 is ignored everywhere. A confusion matrix has the truth in its
rows and the prediction in its columns, int64 px.
"""

import numpy as np

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.evaluation.figures import constant, iou, mean_iou
from mlseg_dist.evaluation.figures import plain as figures

__all__ = ["confusions", "constant", "decide", "figures", "fine_counts", "iou", "mean_iou", "score_histograms"]

COUNT = len(CLASSES)
BINS = 101
"""Bin k of a histogram holds scores in [k/100, (k + 1)/100); the last one holds 1.0 only."""


def decide(probabilities_BCHW: np.ndarray, threshold: float) -> np.ndarray:
    """Classes uint8 (B, H, W): the strongest class at or above the threshold, else background (SPEC §6)."""
    best = probabilities_BCHW.argmax(axis=1)
    return np.where(probabilities_BCHW.max(axis=1) >= threshold, best, 0).astype(np.uint8)


def confusions(truth_BHW: np.ndarray, predicted_BHW: np.ndarray) -> np.ndarray:
    """One matrix a sample, int64 (B, 3, 3)."""
    batch = len(truth_BHW)
    sample = np.arange(batch).reshape(-1, *[1] * (truth_BHW.ndim - 1))
    cell = (sample * COUNT + truth_BHW.astype(np.int64)) * COUNT + predicted_BHW
    known = truth_BHW != IGNORED
    counts = np.bincount(cell[known], minlength=batch * COUNT * COUNT)
    return counts.astype(np.int64).reshape(batch, COUNT, COUNT)


def fine_counts(fine_BHW: np.ndarray, truth_BHW: np.ndarray, predicted_BHW: np.ndarray) -> np.ndarray:
    """What was predicted on each fine class, int64 (256, 3); pixels whose training class is ignored do not count."""
    known = truth_BHW != IGNORED
    cell = fine_BHW[known].astype(np.int64) * COUNT + predicted_BHW[known]
    return np.bincount(cell, minlength=256 * COUNT).astype(np.int64).reshape(256, COUNT)


def score_histograms(probabilities_BCHW: np.ndarray, truth_BHW: np.ndarray) -> np.ndarray:
    """Scores of each class against the rest, int64 (3, 2, 101): [class, 0 negatives | 1 positives, bin]."""
    known = truth_BHW != IGNORED
    truth = truth_BHW[known]
    out = np.zeros((COUNT, 2, BINS), np.int64)
    for number in range(COUNT):
        scores = probabilities_BCHW[:, number][known]
        bins = np.clip((scores * (BINS - 1)).astype(np.int64), 0, BINS - 1)
        positive = (truth == number).astype(np.int64)
        out[number] = np.bincount(positive * BINS + bins, minlength=2 * BINS).reshape(2, BINS)
    return out
