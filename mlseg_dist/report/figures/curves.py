"""One class against the rest over all thresholds: precision and recall, ROC, IoU; one line a split."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from mlseg_dist.report.figures.base import SMALL, drawing, svg
from mlseg_dist.report.look import INK, LINE, SPLIT_COLOURS
from mlseg_dist.report.words import SPLIT_NAMES, share

Curves = Mapping[str, dict[str, Any]]
"""Split -> lists over the thresholds k/100, and the areas under them."""
SIZE = (3.6, 3.1)


def precision_recall(name: str, curves: Curves, threshold: float) -> bytes:
    """Precision over recall; the chosen threshold is marked."""
    with drawing(*SIZE) as (figure, axes):
        for split, curve in curves.items():
            label = f"{SPLIT_NAMES[split]}: AP {share(curve.get('average_precision'), 2)}"
            x, y = _numbers(curve["recall"]), _numbers(curve["precision"])
            axes.plot(x, y, color=SPLIT_COLOURS[split], label=label)
            _mark(axes, split, x, y, threshold)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.set_title(f"{name}: precision and recall")
        axes.legend(loc="lower left")
        return svg(figure)


def roc(name: str, curves: Curves, threshold: float) -> bytes:
    """Sensitivity over 1 - specificity; the chosen threshold is marked."""
    with drawing(*SIZE) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.2)
        for split, curve in curves.items():
            x, y = 1 - _numbers(curve["specificity"]), _numbers(curve["recall"])
            label = f"{SPLIT_NAMES[split]}: AUC {share(curve.get('auc'), 2)}"
            axes.plot(np.append(x, 0), np.append(y, 0), color=SPLIT_COLOURS[split], label=label)
            _mark(axes, split, x, y, threshold)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="1 − specificity", ylabel="sensitivity")
        axes.set_title(f"{name}: ROC")
        axes.legend(loc="lower right")
        return svg(figure)


def over_threshold(name: str, curves: Curves, threshold: float) -> bytes:
    """IoU (full), sensitivity (dashed) and specificity (dotted); colours as in the figures beside it."""
    with drawing(*SIZE) as (figure, axes):
        axes.axvline(threshold, color=INK, linewidth=1)
        axes.text(threshold + 0.015, 0.02, f"{threshold:g}", **SMALL)
        for split, curve in curves.items():
            for key, dash in (("iou", "-"), ("recall", "--"), ("specificity", ":")):
                width = 1.8 if key == "iou" else 1.1
                x, y = _numbers(curve["threshold"]), _numbers(curve[key])
                axes.plot(x, y, dash, color=SPLIT_COLOURS[split], lw=width)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold (— IoU, - - sensitivity, ··· specificity)")
        axes.set_title(f"{name}: over thresholds")
        return svg(figure)


def _numbers(values: list[float | None]) -> np.ndarray:
    """None, where a figure is not defined, becomes a gap in the line."""
    return np.array(values, float)


def _mark(axes: Axes, split: str, x: np.ndarray, y: np.ndarray, threshold: float) -> None:
    """The point of the chosen threshold."""
    at = min(round(threshold * 100), len(x) - 1)
    axes.plot(x[at], y[at], "o", color=SPLIT_COLOURS[split], markersize=6)
