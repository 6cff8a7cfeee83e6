"""Points in a plane, coloured by the group that they belong to."""

from collections import Counter
from collections.abc import Collection, Sequence

import numpy as np

from mlseg_dist.report.figures.base import drawing, svg
from mlseg_dist.report.look import PAPER

COLOURS = ("#2b6cb0", "#d9822b", "#0e8a7d", "#a33b68", "#8a6fb8", "#c2a11d", "#55647f", "#d0323a", "#5b7f1e", "#1c2330")
MOST_NAMED = 9
"""Groups with a colour of their own; if there are more, the others share the last."""


def scatter(
    kind: str, points: Sequence[Sequence[float]], groups: Sequence[str], unseen: Collection[str], axes_of: str
) -> bytes:
    """points: (x, y) each, and its group's name in `groups`. unseen: groups that are drawn as triangles. axes_of: PCA or UMAP."""
    count = Counter(groups)
    names = sorted(count, key=lambda name: (-count[name], name))
    places, of = np.array(points, float).reshape(-1, 2), np.array(groups, object)
    with drawing(3.6, 3.9) as (figure, axes):
        for number, name in enumerate(names):
            chosen = places[of == name]
            is_own = number < MOST_NAMED or len(names) == MOST_NAMED + 1
            label = _shown(name) if is_own else "others" if number == MOST_NAMED else None
            axes.scatter(
                chosen[:, 0],
                chosen[:, 1],
                s=22 if name in unseen else 14,
                marker="^" if name in unseen else "o",
                color=COLOURS[min(number, MOST_NAMED)],
                edgecolors=PAPER,
                linewidths=0.3,
                alpha=0.85,
                label=label,
            )
        axes.set(xticks=[], yticks=[], xlabel=f"{axes_of} 1", ylabel=f"{axes_of} 2")
        axes.set_title(f"By {kind}")
        if names:
            axes.legend(
                loc="upper left",
                bbox_to_anchor=(0, -0.08),
                ncols=2,
                handletextpad=0.1,
                columnspacing=0.8,
                borderaxespad=0,
            )
        return svg(figure)


def _shown(name: str) -> str:
    """matplotlib reads what stands between dollars as formulas, and leaves out labels that begin with `_`."""
    name = (name or "(not given)")[:24].replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name
