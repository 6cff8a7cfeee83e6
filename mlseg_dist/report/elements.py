"""Pieces that several sections of the report share: cells of figures, names of classes, a block a split."""

from collections.abc import Callable, Iterable
from pathlib import Path

from mlseg_core.html import Cell, Html, Templates, data_uri, dotted, figure, grid
from mlseg_dist.report.look import CLASS_COLOURS
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import SPLIT_NAMES, Interval, counted, limits, share, value_of

TEMPLATES = Templates(Path(__file__).parent / "templates")
made = TEMPLATES.macros("parts.html")
Mark = tuple[str, float | None, float | None]
"""On a scale from 0 to 1: class, start (None: 0), end (None: a point)."""


def interval(found: Interval | None, classes: str = "") -> Cell:
    """The figure, and its 95 % interval small below it."""
    return Cell(share(value_of(found)), classes, small=limits(found))


def drawing(svg: bytes, alt: str, classes: str = "", id: str = "") -> Html:
    """A figure of matplotlib's, inside the page."""
    return figure(data_uri(svg, "svg+xml"), alt, classes, id)


def class_name(name: str) -> Html:
    """A training class with its colour."""
    return dotted(name, CLASS_COLOURS[name])


def class_heads(names: Iterable[str]) -> list[Cell]:
    return [Cell(class_name(name)) for name in names]


def by_split(sources: Sources, make: Callable[[str], Html | None], level: int = 3) -> Html:
    """A block a split, side by side where there is room; splits of which there is nothing to show are left out.

    level: of the blocks' headings, one more than that of the heading above them.
    """
    blocks = []
    for split in sources.splits:
        body = make(split)
        if body is not None:
            facts = sources.block("splits", split)
            size = f"{counted(facts.get('patients', 0), 'patient')}, {counted(facts.get('slides', 0), 'slide')}"
            blocks.append(made.block(level, SPLIT_NAMES[split], size, body))
    return grid(blocks, "two")
