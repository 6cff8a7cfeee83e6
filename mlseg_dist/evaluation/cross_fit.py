"""Thresholds for the validation figures: each patient's is chosen on the other patients, so that none is judged by its own."""

from collections.abc import Mapping

import numpy as np

from mlseg_dist.evaluation.figures import confusion_at_each, mean_iou
from mlseg_dist.evaluation.tally import BINS

USUAL = 450
"""Of thresholds that are equally good the one nearest .450 is taken."""


def best_threshold(confusions: np.ndarray) -> float:
    """The threshold k / 1000 of the best mean IoU. confusions: (1001, 3, 3), as confusion_at_each gives them."""
    scores = np.nan_to_num(mean_iou(confusions), nan=-1.0)
    best = np.flatnonzero(scores == scores.max())
    return float(best[np.abs(best - USUAL).argmin()]) / (BINS - 1)


def leave_one_out(answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Patient -> threshold chosen on all the others. answers: patient -> (3, 3, 1001) of the training classes.

    Patients without any pixel take no part. Empty with fewer than two patients.
    """
    tables = {patient: confusion_at_each(table) for patient, table in sorted(answers.items()) if table.any()}
    if len(tables) < 2:
        return {}
    total = np.sum(list(tables.values()), axis=0)
    return {patient: best_threshold(total - table) for patient, table in tables.items()}
