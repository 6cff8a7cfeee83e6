"""Whether probabilities are what they say: reliability, calibration error and likelihood, with and without temperature.

All from the histogram of log odds, so that a temperature can be applied afterwards: dividing logits by it divides log odds.
"""

from typing import Any

import numpy as np

from mlseg_dist.evaluation.figures import number
from mlseg_dist.evaluation.slide_counts import COUNT, LOG_ODDS, ODDS

CONFIDENCE_BINS = 15
"""They have equal width, as is usual for the expected calibration error."""


def probabilities(temperature: float) -> np.ndarray:
    """Probabilities of the three classes in each bin of log odds at a temperature, float64 (81, 81, 3)."""
    odds = LOG_ODDS / temperature
    logits = np.zeros((ODDS, ODDS, COUNT))
    logits[..., 1], logits[..., 2] = odds[:, None], odds[None, :]
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def calibration(log_odds: np.ndarray, temperature: float | None) -> dict[str, Any]:
    """Figures without temperature, and with it where there is one. log_odds: int64 (3, 81, 81), as in SlideCounts."""
    raw = measured(log_odds, 1.0)
    scaled = measured(log_odds, temperature) if temperature else {"ece": None, "nll": None, "reliability": []}
    return {"temperature": temperature, **raw, **{f"{name}_scaled": value for name, value in scaled.items()}}


def measured(log_odds: np.ndarray, temperature: float) -> dict[str, Any]:
    """ece: mean distance of confidence and accuracy over CONFIDENCE_BINS, weighted by cells. nll: mean of -log p(truth), nats.

    reliability: the bins that hold cells, from low to high confidence: mean confidence, accuracy, share of all cells.
    Confidence is the probability of the strongest class; the decision's threshold plays no part.
    """
    total = int(log_odds.sum())
    if not total:
        return {"ece": None, "nll": None, "reliability": []}
    chances = probabilities(temperature)
    confidence, strongest = chances.max(axis=-1), chances.argmax(axis=-1)
    cells = log_odds.sum(axis=0)
    right = np.take_along_axis(np.moveaxis(log_odds, 0, -1), strongest[..., None], axis=-1)[..., 0]
    place = np.clip(np.ceil(confidence * CONFIDENCE_BINS).astype(int) - 1, 0, CONFIDENCE_BINS - 1).ravel()
    of_bin = [np.bincount(place, values.ravel(), CONFIDENCE_BINS) for values in (cells, right, cells * confidence)]
    rows = [
        {"confidence": float(sure / held), "accuracy": float(hit / held), "share": float(held / total)}
        for held, hit, sure in zip(*of_bin, strict=True)
        if held
    ]
    loss = -(np.moveaxis(log_odds, 0, -1) * np.log(chances)).sum() / total
    error = sum(row["share"] * abs(row["confidence"] - row["accuracy"]) for row in rows)
    return {"ece": number(error), "nll": number(loss), "reliability": rows}
