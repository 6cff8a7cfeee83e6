"""What all figures share: one pair of axes in the page's look, and SVG bytes that repeat.

Figures show no names from files: these stay in the page, where they are escaped.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlseg_dist.report.look import MATPLOTLIB, MUTED

SMALL: dict[str, Any] = {"fontsize": 8, "color": MUTED}


@contextmanager
def drawing(width: float, height: float) -> Iterator[tuple[Figure, Axes]]:
    """A figure of so many inches with one pair of axes."""
    with matplotlib.rc_context(MATPLOTLIB):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure, figure.add_subplot()


def svg(figure: Figure) -> bytes:
    """The same figure gives the same bytes."""
    data = io.BytesIO()
    figure.savefig(data, format="svg", metadata={"Date": None})
    return data.getvalue()
