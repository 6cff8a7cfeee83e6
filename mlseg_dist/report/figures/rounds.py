"""What each label round accepted."""

from collections.abc import Sequence
from typing import Any

from matplotlib.ticker import MaxNLocator

from mlseg_dist.report.figures.base import drawing, svg
from mlseg_dist.report.look import CLASS_COLOURS, INK, PAPER


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
        labels = [f"round {entry['round']}: {entry['teacher']} at {entry['threshold']:g}" for entry in rounds]
        axes.set_yticks(range(count), labels)
        axes.set(xlim=(0, 1), ylim=(count - 0.5, -0.5), xlabel="share of pixels")
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", labelcolor=INK, labelsize=9)
        axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderaxespad=0.2)
        return svg(figure)
