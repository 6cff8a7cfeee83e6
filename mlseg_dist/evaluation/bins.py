"""Which bin of SlideCounts (tally.py) a probability or log odds falls into, on the device; for evaluation and for validation."""

import torch

from mlseg_dist.evaluation.tally import BINS, ODDS_LIMIT, ODDS_STEP


def probability_bins(probabilities: torch.Tensor) -> torch.Tensor:
    """Bins int64, of any shape; 0 for nan. Bin k begins at k / 1000, so probabilities are rounded down."""
    return (probabilities.nan_to_num(0.0) * (BINS - 1)).long().clamp(0, BINS - 1)


def odds_bins(odds: torch.Tensor) -> torch.Tensor:
    """Bins int64 of log odds in nats, of any shape; the bin of 0 for nan."""
    inside = odds.nan_to_num(0.0).clamp(-ODDS_LIMIT, ODDS_LIMIT)
    return (inside / ODDS_STEP).round().long() + round(ODDS_LIMIT / ODDS_STEP)
