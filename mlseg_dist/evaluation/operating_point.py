"""At which probability a teacher's answer is taken, and how sure it really is: chosen from counts of the validation split.

Which patients serve what: while a step trains, all patients of the validation split choose its best checkpoint, and the
threshold and temperature of that checkpoint. Figures of the validation split are therefore optimistic; an evaluation cross-fits
the threshold over its patients (`leave_one_out`), and held-out splits had no part in the choice. Loads no torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mlseg_dist.config import LearningConfig
from mlseg_dist.evaluation.figures import by_training_class, confusion_at_each, mean_iou
from mlseg_dist.evaluation.slide_counts import BINS, LOG_ODDS, SlideCounts, threshold_bin
from mlseg_dist.run_folder import teacher_record

ThresholdSource = Literal["validation", "config", "command line", "default"]
DEFAULT_THRESHOLD = 0.45
"""A teacher without an operating point uses it; among equally good thresholds the one nearest to it is chosen."""
COLDEST, HOTTEST = 0.1, 10.0
_HALVINGS = 60  # they narrow an interval of width 10 down to rounding


@dataclass(frozen=True)
class OperatingPoint:
    """threshold: a pixel takes its strongest class where that class' probability is at or above it, else background.

    temperature: probabilities are calibrated after the logits are divided by it; it never changes which class is taken.
    """

    threshold: float = DEFAULT_THRESHOLD
    temperature: float = 1.0
    source: ThresholdSource = "default"

    def record(self, patients: int) -> dict[str, Any]:
        """What teacher.json keeps. patients: whose slides it was chosen on."""
        return {
            "threshold": self.threshold,
            "temperature": self.temperature,
            "patients": patients,
            "from": self.source,
        }


def choose(counts: SlideCounts, training: np.ndarray) -> OperatingPoint:
    """The threshold k/1000 with the best mean IoU, and the temperature with the least negative log likelihood.

    training: uint8 (256,), fine class -> training class, as Corpus.training_class_of. Without any counted pixel: the default.
    """
    if not counts.log_odds.any() and not counts.answers.any():
        return OperatingPoint()
    return OperatingPoint(best_threshold(counts.answers, training), best_temperature(counts.log_odds), "validation")


def best_threshold(answers: np.ndarray, class_of: np.ndarray) -> float:
    """The threshold k / 1000 with the best mean IoU; of equally good ones the nearest to DEFAULT_THRESHOLD, then the lower.

    answers: (F, 3, 1001), as in SlideCounts. class_of: (F,) training class of each fine class, or IGNORED.
    """
    found = np.nan_to_num(mean_iou(confusion_at_each(by_training_class(answers, class_of))))
    best = np.flatnonzero(found == found.max())
    return float(best[np.abs(best - threshold_bin(DEFAULT_THRESHOLD)).argmin()]) / (BINS - 1)


def leave_one_out(answers: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Patient -> threshold chosen on all the others, so that no patient is judged by a threshold that it chose.

    answers: patient -> (3, 3, 1001) of the training classes. Patients without any pixel take no part. Empty with fewer than two
    patients.
    """
    own = {patient: table for patient, table in sorted(answers.items()) if table.any()}
    if len(own) < 2:
        return {}
    total = np.sum(list(own.values()), axis=0)
    return {patient: best_threshold(total - table, np.arange(len(total))) for patient, table in own.items()}


def best_temperature(log_odds: np.ndarray) -> float:
    """log_odds: as in SlideCounts. Between .1 and 10; 1 where nothing was counted.

    The likelihood is concave in 1/temperature, so its slope is halved in on. Log odds beyond 10 nats count as 10.
    """
    truth, tumour, others = np.nonzero(log_odds)
    if not len(truth):
        return 1.0
    weight = log_odds[truth, tumour, others] / log_odds.sum()
    logits = np.column_stack([np.zeros(len(truth)), LOG_ODDS[tumour], LOG_ODDS[others]])
    of_truth = logits[np.arange(len(truth)), truth]

    def rising(inverse: float) -> bool:
        """Whether a larger 1/temperature is likelier still."""
        scaled = logits * inverse
        likely = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        expected = (likely * logits).sum(axis=1) / likely.sum(axis=1)
        return bool((weight * (of_truth - expected)).sum() > 0)

    low, high = 1 / HOTTEST, 1 / COLDEST
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) else (low, middle)
    return float(2 / (low + high))


def of_teacher(run: Path, step: str, config: LearningConfig) -> OperatingPoint:
    """Where a published teacher is to be operated: `evaluate.threshold` if the config has one, else the teacher's own.

    A teacher of earlier code has none: threshold .45, temperature 1. Raises UserError when the step has no teacher.
    """
    own = teacher_record(run, step).get("operating_point")
    temperature = float(own["temperature"]) if own else 1.0
    if config.evaluate.threshold is not None:
        return OperatingPoint(config.evaluate.threshold, temperature, "config")
    return OperatingPoint(float(own["threshold"]), temperature, own["from"]) if own else OperatingPoint()
