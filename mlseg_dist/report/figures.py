"""The report's figures, each a small SVG (bytes) that stays readable on a phone. Same input, same bytes."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mlseg_dist.report.style import CLASS_COLOURS, INK, LINE, MATPLOTLIB, MUTED, PAPER, SPLIT_COLOURS

TRAIN, VALIDATION = "#9db8d9", "#1f4e8c"
MOST_POINTS = 300
"""Points of a training line; longer ones are averaged over windows."""


@contextmanager
def _axes(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    with matplotlib.rc_context(MATPLOTLIB):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def _svg(figure: Figure) -> bytes:
    data = io.BytesIO()
    figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()


def training_curve(title: str, key: str, steps: dict[str, list[dict[str, Any]]], share: bool) -> bytes:
    """One figure of training over the whole campaign; each step has a band of equal width. share: the figure is 0 to 1."""
    with _axes(5.0, 2.9) as (figure, axes):
        for number, (name, lines) in enumerate(steps.items()):
            if number % 2:
                axes.axvspan(number, number + 1, color="#f5f6f8", zorder=0, linewidth=0)
            last = max((line["step"] for line in lines), default=1) or 1
            for kind, colour in (("train", TRAIN), ("val", VALIDATION)):
                points = [
                    (line["step"], line[key]) for line in lines if line["kind"] == kind and line.get(key) is not None
                ]
                if points:
                    x, y = np.array(points, float).T
                    x, y = _thinned(number + x / last, y)
                    label = {"train": "train", "val": "validation"}[kind] if number == 0 else None
                    axes.plot(x, y, color=colour, marker="o" if kind == "val" else None, markersize=3.5, label=label)
            axes.text(number + 0.5, 1.015, name, transform=axes.get_xaxis_transform(), ha="center", **_SMALL)
        axes.set(xlim=(0, max(1, len(steps))), xticks=[], title=title)
        axes.set_title(title, pad=20)
        if share:
            axes.set_ylim(0, 1)
        axes.grid(axis="x", visible=False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right" if share else "upper right")
        return _svg(figure)


_SMALL: dict[str, Any] = {"fontsize": 8, "color": MUTED}


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    window = -(-len(x) // MOST_POINTS)
    if window <= 1:
        return x, y
    edges = np.arange(0, len(x), window)
    sizes = np.diff(np.append(edges, len(x)))
    return np.add.reduceat(x, edges) / sizes, np.add.reduceat(y, edges) / sizes


def group_iou(title: str, base: Sequence[dict[str, Any]], last: Sequence[dict[str, Any]]) -> bytes:
    """IoU of tumour and others per stain, source or scanner: hollow the first step, full the last; unseen ones marked."""
    count = len(last)
    with _axes(3.8, 1.15 + 0.42 * count) as (figure, axes):
        before = {row["value"]: row for row in base}
        for number, row in enumerate(last):
            if row["unseen"]:
                axes.axhspan(number - 0.5, number + 0.5, color="#fdf1e3", zorder=0, linewidth=0)
            for name, shift in (("tumour", -0.13), ("others", 0.13)):
                first, now = before[row["value"]]["iou"][name], row["iou"][name]
                if now is None:
                    continue
                colour, y = CLASS_COLOURS[name], number + shift
                if first is not None:
                    axes.plot([first, now], [y, y], color=colour, alpha=0.35, linewidth=2.5)
                    axes.plot(first, y, "o", ms=5.5, mfc=PAPER, mec=colour, clip_on=False, zorder=5)
                axes.plot(now, y, "o", ms=6.5, color=colour, clip_on=False, zorder=6)
        labels = [f"{_plain(row['value'])}{' (unseen)' if row['unseen'] else ''}" for row in last]
        axes.set_yticks(range(count), labels)
        axes.set(xlim=(0, 1), ylim=(count - 0.5, -0.5), xlabel="IoU (○ first step, ● last step)")
        axes.set_title(title)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9, pad=8)
        handles = [axes.plot([], [], "o", color=CLASS_COLOURS[name], label=name)[0] for name in ("tumour", "others")]
        axes.legend(
            handles=handles,
            loc="lower right",
            bbox_to_anchor=(1, 1),
            ncols=2,
            borderaxespad=0.2,
            columnspacing=1,
            handletextpad=0,
        )
        return _svg(figure)


def _plain(name: str) -> str:
    """Text that matplotlib shows as it is ($ would start mathematics)."""
    return name.replace("$", r"\$")


def precision_recall(name: str, curves: dict[str, dict[str, Any]], threshold: float) -> bytes:
    """Precision over recall; one line a split, the chosen threshold marked."""
    with _axes(3.6, 3.1) as (figure, axes):
        for split, curve in curves.items():
            label = f"{split}: AP {curve['average_precision']:.2f}"
            axes.plot(curve["recall"], curve["precision"], color=SPLIT_COLOURS[split], label=label)
            at = round(threshold * 100)
            axes.plot(curve["recall"][at], curve["precision"][at], "o", color=SPLIT_COLOURS[split], markersize=6)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="recall", ylabel="precision")
        axes.set_title(f"{name}: precision and recall")
        axes.legend(loc="lower left")
        return _svg(figure)


def roc(name: str, curves: dict[str, dict[str, Any]], threshold: float) -> bytes:
    """Sensitivity over 1 - specificity."""
    with _axes(3.6, 3.1) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.2)
        for split, curve in curves.items():
            x = 1 - np.array(curve["specificity"])
            label = f"{split}: AUC {curve['auc']:.2f}"
            axes.plot(np.append(x, 0), [*curve["recall"], 0], color=SPLIT_COLOURS[split], label=label)
            at = round(threshold * 100)
            axes.plot(x[at], curve["recall"][at], "o", color=SPLIT_COLOURS[split], markersize=6)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="1 − specificity", ylabel="sensitivity")
        axes.set_title(f"{name}: ROC")
        axes.legend(loc="lower right")
        return _svg(figure)


def over_threshold(name: str, curves: dict[str, dict[str, Any]], threshold: float) -> bytes:
    """IoU (full), sensitivity (dashed) and specificity (dotted) over the threshold; colours as in the figures beside it."""
    with _axes(3.6, 3.1) as (figure, axes):
        axes.axvline(threshold, color=INK, linewidth=1)
        axes.text(threshold + 0.015, 0.02, f"{threshold:g}", **_SMALL)
        for split, curve in curves.items():
            for key, dash in (("iou", "-"), ("recall", "--"), ("specificity", ":")):
                width = 1.8 if key == "iou" else 1.1
                axes.plot(curve["threshold"], curve[key], dash, color=SPLIT_COLOURS[split], lw=width)
        axes.set(xlim=(0, 1), ylim=(0, 1.02), xlabel="threshold (— IoU, - - sensitivity, ··· specificity)")
        axes.set_title(f"{name}: over thresholds")
        return _svg(figure)


def acceptance(rounds: Sequence[dict[str, Any]]) -> bytes:
    """What each round's teacher accepted, as shares of all pixels that it looked at."""
    count = len(rounds)
    with _axes(7.4, 1.2 + 0.42 * count) as (figure, axes):
        for number, entry in enumerate(rounds):
            parts = {**{name: entry["accepted"].get(name, 0) for name in CLASS_COLOURS}, "rejected": entry["rejected"]}
            total = sum(parts.values()) or 1
            left = 0.0
            for name, pixels in parts.items():
                width = pixels / total
                colour = CLASS_COLOURS.get(name, "#eef0f3")
                axes.barh(number, width, left=left, height=0.62, color=colour, label=name if number == 0 else None)
                if width > 0.05:
                    shade = PAPER if name in ("tumour", "others") else INK
                    middle = {"ha": "center", "va": "center", "fontsize": 8.5, "color": shade}
                    axes.text(left + width / 2, number, f"{width:.0%}", **middle)  # type: ignore[arg-type]
                left += width
        labels = [f"round {entry['round']}: {entry['teacher']} at {entry['threshold']:g}" for entry in rounds]
        axes.set_yticks(range(count), labels)
        axes.set(xlim=(0, 1), ylim=(count - 0.5, -0.5), xlabel="share of pixels")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
        return _svg(figure)
