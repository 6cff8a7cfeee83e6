"""Mean IoU of every step on every split, with intervals over patients; falls from one step to the next are marked."""

from collections.abc import Mapping, Sequence
from math import ceil, floor
from typing import Any

from mlseg_dist.report.figures.base import SMALL, drawing, svg
from mlseg_dist.report.look import BAD, MUTED, PAPER, SPLIT_COLOURS
from mlseg_dist.report.words import SPLIT_NAMES, Interval, counted, has_interval, value_of

MOST_LEVEL = 6
"""Steps whose names fit side by side."""
APART = 0.13
"""Between the splits of one step, steps."""


def ladder(
    steps: Sequence[str],
    figures: Mapping[str, Mapping[str, Interval]],
    majority: Mapping[str, float | None],
    fell: Mapping[str, set[str]],
    beside: Mapping[str, Mapping[str, Interval]],
) -> bytes:
    """figures: split -> step -> mean IoU. majority: split -> mean IoU of one constant answer, a dashed line. fell: split -> steps
    that are worse than the step before. beside: split -> step -> mean IoU of its control, a diamond."""
    with drawing(5.2, 3.5) as (drawn, axes):
        for number, (split, found) in enumerate(figures.items()):
            colour = SPLIT_COLOURS[split]
            shift = APART * (number - (len(figures) - 1) / 2)
            known = [(place + shift, step) for place, step in enumerate(steps) if value_of(found.get(step)) is not None]
            points = [(x, step, float(found[step]["value"])) for x, step in known]
            patients = max((found[step]["patients"] for _, step, _ in points), default=0)
            axes.plot(
                [x for x, _, _ in points],
                [value for _, _, value in points],
                color=colour,
                linewidth=1.5,
                label=f"{SPLIT_NAMES[split]} ({counted(patients, 'patient')})",
            )
            for x, step, _ in points:
                _point(axes, x, found[step], colour)
            marked = [(x, value) for x, step, value in points if step in fell.get(split, ())]
            for x, value in marked:
                axes.plot(x, value, "o", ms=13, mfc="none", mec=BAD, mew=1.6, zorder=7)
            for x, step, _ in points:
                control = value_of(beside.get(split, {}).get(step))
                if control is not None:
                    axes.plot(x, control, "D", ms=5, mfc=PAPER, mec=colour, mew=1.2, alpha=0.8, zorder=5)
            constant = majority.get(split)
            if constant is not None:
                axes.axhline(constant, color=colour, linewidth=0.9, linestyle=(0, (2, 3)), alpha=0.8)
        if any(fell.values()):
            axes.plot(
                [], [], "o", ms=9, mfc="none", mec=BAD, mew=1.6, linestyle="none", label="worse than the step before"
            )
        if any(beside.values()):
            label = "the same on people\u2019s labels alone"
            axes.plot([], [], "D", ms=5, mfc=PAPER, mec=MUTED, mew=1.2, linestyle="none", label=label)
        axes.set_xticks(range(len(steps)), steps)
        axes.set(
            ylim=_range([*figures.values(), *beside.values()], majority),
            xlim=(-0.5, len(steps) - 0.5),
            ylabel="mean IoU",
        )
        axes.grid(axis="x", visible=False)
        if len(steps) > MOST_LEVEL:
            axes.set_xticks(range(len(steps)), steps, rotation=40, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="x", labelcolor=MUTED)
        if any(value is not None for value in majority.values()):
            axes.text(
                1, 0.01, "dotted: one constant answer", transform=axes.transAxes, ha="right", va="bottom", **SMALL
            )
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.2, columnspacing=1.4)
        return svg(drawn)


def _range(figures: Sequence[Mapping[str, Interval]], majority: Mapping[str, float | None]) -> tuple[float, float]:
    """Limits of the axis: whole tenths around all that is drawn."""
    ends = [found.get(key) for of_step in figures for found in of_step.values() for key in ("value", "low", "high")]
    known = [end for end in (*ends, *majority.values()) if end is not None]
    low, high = min(known, default=0.0), max(known, default=1.0)
    return max(0.0, floor(10 * low - 0.3) / 10), min(1.0, ceil(10 * high + 0.3) / 10)


def _point(axes: Any, x: float, one: Interval, colour: str) -> None:
    """Full with its interval; hollow where there are too few patients for one."""
    full = has_interval(one)
    if full:
        axes.plot([x, x], [one["low"], one["high"]], color=colour, linewidth=2.6, alpha=0.45, zorder=4)
    axes.plot(x, one["value"], "o", ms=5.5, mfc=colour if full else PAPER, mec=colour, mew=1.4, zorder=6)
