"""Integer counts of one network on one slide. They are all that an evaluation keeps of it; sums of them are exact in any order.

Every annotated cell that has a training class counts once. Probabilities are kept in bins, so that thresholds, curves and
calibration are worked out afterwards, without the network.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Self

import numpy as np

from mlseg_dist.config import CLASSES

COUNT = len(CLASSES)
FINE = 256
BINS = 1001
"""Bin k holds probabilities in [k/1000, (k + 1)/1000); the last one holds 1.0 only."""
ODDS_STEP, ODDS_LIMIT = 0.25, 10.0
ODDS = round(2 * ODDS_LIMIT / ODDS_STEP) + 1
"""Bin k holds log odds nearest to LOG_ODDS[k] nats; the first and the last one hold all beyond."""
LOG_ODDS = np.arange(ODDS) * ODDS_STEP - ODDS_LIMIT
SURFACE = ("true", "true_near", "predicted", "predicted_near")
SHAPES = {
    "answers": (FINE, COUNT, BINS),
    "scores": (COUNT, COUNT, BINS),
    "log_odds": (COUNT, ODDS, ODDS),
    "surface": (COUNT, len(SURFACE)),
}


def threshold_bin(threshold: float) -> int:
    """The first bin whose probabilities reach the threshold."""
    return round(threshold * (BINS - 1))


def _zeros(name: str) -> Callable[[], np.ndarray]:
    return partial(np.zeros, SHAPES[name], np.int64)


@dataclass
class SlideCounts:
    """Counts of cells, int64. Only cells whose true training class is not IGNORED count, each once.

    answers: (fine class, strongest training class, bin of its probability).
    scores: (true training class, training class, bin of that class' probability).
    log_odds: (true training class, bin of log(p tumour / p background), bin of log(p others / p background)).
    surface: (class, SURFACE): cells on the class' true border, those of them within the tolerance of its predicted border,
    and the same the other way round.
    unanswered: cells for which the network gave no number, or whose pixels cannot be decoded. They are in none of the above.
    """

    answers: np.ndarray = field(default_factory=_zeros("answers"))
    scores: np.ndarray = field(default_factory=_zeros("scores"))
    log_odds: np.ndarray = field(default_factory=_zeros("log_odds"))
    surface: np.ndarray = field(default_factory=_zeros("surface"))
    unanswered: int = 0

    def to_json(self) -> dict[str, Any]:
        """Only what is not 0: flat indices and counts, as plain lists."""
        found: dict[str, Any] = {"unanswered": self.unanswered}
        for name in SHAPES:
            flat = getattr(self, name).ravel()
            at = np.flatnonzero(flat)
            found[name] = {"at": at.tolist(), "count": flat[at].tolist()}
        return found

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Self:
        counts = cls(unanswered=int(found["unanswered"]))
        for name in SHAPES:
            getattr(counts, name).ravel()[np.array(found[name]["at"], np.int64)] = found[name]["count"]
        return counts
