"""Deciding and counting single patches, for example pictures and studies; whole slides are counted by counting.py.

Pure functions. Labels are training classes 0, 1, 2; 255 is ignored everywhere. A confusion matrix has the truth in its
rows and the prediction in its columns, int64 px.
"""

import numpy as np

from mlseg_dist.config import IGNORED
from mlseg_dist.evaluation.slide_counts import COUNT


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
