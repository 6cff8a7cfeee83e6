"""Reliability: how often the answer is right where the network says that it is p sure."""

from collections.abc import Sequence

from mlseg_dist.report.figures.base import drawing, svg
from mlseg_dist.report.look import LINE, MUTED, PAPER, SPLIT_COLOURS
from mlseg_dist.report.words import SPLIT_NAMES, Interval

RAW = "#9aa1ab"


def reliability(split: str, raw: Sequence[Interval], scaled: Sequence[Interval]) -> bytes:
    """raw, scaled: {"confidence", "accuracy", "share"} per bin, before and after the temperature; bars: pixels per bin."""
    with drawing(3.6, 3.3) as (figure, axes):
        axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.4)
        for rows, colour, face, label in (
            (raw, RAW, PAPER, "as it is"),
            (scaled, SPLIT_COLOURS[split], SPLIT_COLOURS[split], "after temperature"),
        ):
            points = [(row["confidence"], row["accuracy"], row["share"]) for row in rows if row["accuracy"] is not None]
            if points:
                x, y, _ = zip(*points, strict=True)
                axes.plot(x, y, "-o", color=colour, mfc=face, mec=colour, ms=4.5, lw=1.5, label=label)
        bars = [(row["confidence"], row["share"]) for row in raw if row["share"] and row["confidence"] is not None]
        if bars:
            x, height = zip(*bars, strict=True)
            axes.bar(x, [0.2 * one / max(height) for one in height], width=0.03, color="#e9ecf1", zorder=0)
        axes.set(xlim=(0.3, 1.01), ylim=(0, 1.02), xlabel="confidence (bars: share of pixels)", ylabel="accuracy")
        axes.set_title(SPLIT_NAMES[split])
        axes.tick_params(labelcolor=MUTED)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(loc="upper left")
        return svg(figure)
