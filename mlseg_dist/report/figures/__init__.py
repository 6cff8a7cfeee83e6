"""The report's figures, each a small SVG (bytes) that stays readable on a phone. Same input, same bytes."""

from mlseg_dist.report.figures.calibration import reliability
from mlseg_dist.report.figures.curves import over_threshold, precision_recall, roc
from mlseg_dist.report.figures.ladder import ladder
from mlseg_dist.report.figures.scatter import scatter
from mlseg_dist.report.figures.training import acceptance, training_curve

__all__ = [
    "acceptance",
    "ladder",
    "over_threshold",
    "precision_recall",
    "reliability",
    "roc",
    "scatter",
    "training_curve",
]
