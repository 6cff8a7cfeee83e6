"""Thresholds for the validation figures: each patient's is chosen on the other patients, so that none is judged by its own."""

from collections.abc import Mapping

import numpy as np

from mlseg_dist.evaluation.figures import by_training_class, confusion_at_each, mean_iou
from mlseg_dist.evaluation.tally import BINS

USUAL = 450
"""Of thresholds that are equally good the one nearest .450 is taken, then the lower."""


def best_threshold(answers: np.ndarray, class_of: np.ndarray) -> float:
    """The threshold k / 1000 of the best mean IoU. answers: (F, 3, 1001), as in SlideCounts; class_of: of the fine classes."""
    scores = np.nan_to_num(mean_iou(confusion_at_each(by_training_class(answers, class_of))))
    best = np.flatnonzero(scores == scores.max())
    return float(best[np.abs(best - USUAL).argmin()]) / (BINS - 1)


def leave_one_out(answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Patient -> threshold chosen on all the others. answers: patient -> (3, 3, 1001) of the training classes.

    Patients without any pixel take no part. Empty with fewer than two patients.
    """
    own = {patient: table for patient, table in sorted(answers.items()) if table.any()}
    if len(own) < 2:
        return {}
    total = np.sum(list(own.values()), axis=0)
    return {patient: best_threshold(total - table, np.arange(len(total))) for patient, table in own.items()}
