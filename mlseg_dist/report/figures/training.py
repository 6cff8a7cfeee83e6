"""How training went: losses and figures over all steps of a campaign; what each label round accepted."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from mlseg_dist.report.figures.base import SMALL, drawing, svg
from mlseg_dist.report.look import CLASS_COLOURS, INK, PAPER

TRAIN, VALIDATION = "#9db8d9", "#1f4e8c"
MOST_POINTS = 300
"""Points of a training line; longer ones are averaged over windows."""


def training_curve(title: str, key: str, steps: dict[str, list[dict[str, Any]]], share: bool) -> bytes:
    """One figure of training over the whole campaign; each step has a band of equal width. share: the figure is 0 to 1."""
    with drawing(5.0, 2.9) as (figure, axes):
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
            axes.text(number + 0.5, 1.015, name, transform=axes.get_xaxis_transform(), ha="center", **SMALL)
        axes.set(xlim=(0, max(1, len(steps))), xticks=[], title=title)
        axes.set_title(title, pad=20)
        if share:
            axes.set_ylim(0, 1)
        axes.grid(axis="x", visible=False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="lower right" if share else "upper right")
        return svg(figure)


def _thinned(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    window = -(-len(x) // MOST_POINTS)
    if window <= 1:
        return x, y
    edges = np.arange(0, len(x), window)
    sizes = np.diff(np.append(edges, len(x)))
    return np.add.reduceat(x, edges) / sizes, np.add.reduceat(y, edges) / sizes


def acceptance(rounds: Sequence[dict[str, Any]]) -> bytes:
    """What each round's teacher accepted, as shares of all pixels that it looked at."""
    count = len(rounds)
    with drawing(7.4, 1.2 + 0.42 * count) as (figure, axes):
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
        labels = [f"round {entry['round']}: {entry['teacher']}{_threshold(entry['threshold'])}" for entry in rounds]
        axes.set_yticks(range(count), labels)
        axes.set(xlim=(0, 1), ylim=(count - 0.5, -0.5), xlabel="share of pixels")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
        return svg(figure)


def _threshold(threshold: float | dict[str, Any]) -> str:
    """` at 0.9`; nothing where classes or views have thresholds of their own, which no axis label has room for."""
    return "" if isinstance(threshold, dict) else f" at {threshold:g}"
