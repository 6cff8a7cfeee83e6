"""What an annotation file says before classes are mapped: named shapes. Rings are checked and tidied here.

The parsers of all vector formats yield a Drawing; they raise ValueError, and read.py adds the file's name. What the readers of XML
formats share is here too.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Protocol
from xml.sax.xmlreader import AttributesImpl as Attributes  # a type; defusedxml parses

import numpy as np

from shards.annotation.origin import Format

NO_CLASS = "(no class)"
REVIEW = "mlseg review"
"""Class of the regions that `mlseg review` asks people to look at: no annotation of theirs."""
MOST_PX = 1e9
"""Coordinates beyond this are damage, not slides."""
TOLERANCE_PX = 0.25
"""Curves become polygons that are at most this far off, level-0 px."""


@dataclass(frozen=True)
class Shape:
    """A polygon: rings (exterior, then holes), float64 (n, 2) level-0 px, not closed by a repeated point.

    hole: it is cut from the region of its layer that contains it.  plane: (z, t) that it was drawn on.
    """

    name: str
    rings: tuple[np.ndarray, ...]
    hole: bool = False
    layer: str = ""
    plane: tuple[int, int] = (0, 0)


@dataclass
class Drawing:
    """Shapes in the file's order."""

    format: Format
    shapes: list[Shape] = field(default_factory=list)
    ignored: Counter[str] = field(default_factory=Counter)
    mpp: float | None = None
    """µm/px the file was drawn at, if it says so."""
    hole_names: frozenset[str] = frozenset()
    """Class names that mean a hole unless somebody mapped them."""

    def add(
        self,
        name: str,
        rings: list[np.ndarray],
        hole: bool = False,
        layer: str = "",
        plane: tuple[int, int] = (0, 0),
    ) -> None:
        """Rings without area are dropped and counted; a polygon whose exterior is one goes with its holes."""
        tidy = [tidy_ring(ring) for ring in rings]
        whole = [ring for ring in tidy if _has_area(ring)]
        if len(whole) < len(tidy):
            self.ignored["ring without area"] += len(tidy) - len(whole)
        if tidy and _has_area(tidy[0]):
            self.shapes.append(Shape(name, tuple(whole), hole, layer, plane))

    def move(self, offset: tuple[float, float]) -> None:
        """Shift all shapes by `offset` (x, y), level-0 px. By nothing: they stay as they are, to the last bit."""
        if offset != (0.0, 0.0):
            self.shapes = [
                replace(shape, rings=tuple(ring + np.array(offset) for ring in shape.rings)) for shape in self.shapes
            ]


def tidy_ring(points: np.ndarray) -> np.ndarray:
    """float64 (n, 2) without repeated points in a row, the closing one included. Raises ValueError."""
    ring = np.ascontiguousarray(points, np.float64).reshape(-1, 2)
    if not (np.abs(ring) <= MOST_PX).all():  # NaN too
        raise ValueError("a coordinate is not a number that fits on a slide")
    return ring[(ring != np.concatenate([ring[1:], ring[:1]])).any(axis=1)]


def _has_area(ring: np.ndarray) -> bool:
    return len(ring) >= 3 and bool((ring.max(axis=0) > ring.min(axis=0)).all())


def box_ring(points: np.ndarray) -> np.ndarray:
    """The rectangle (4, 2) around points."""
    (x0, y0), (x1, y1) = points.min(axis=0), points.max(axis=0)
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def ellipse_ring(points: np.ndarray) -> np.ndarray:
    """The ellipse that fills the rectangle around points, as a polygon."""
    low, high = points.min(axis=0), points.max(axis=0)
    radii = (high - low) / 2
    count = int(np.clip(np.ceil(np.pi * np.sqrt(radii.max() / (2 * TOLERANCE_PX))), 16, 4096))
    angles = np.arange(count) * (2 * np.pi / count)
    return (low + high) / 2 + radii * np.stack([np.cos(angles), np.sin(angles)], axis=1)


class XmlReader(Protocol):
    """Takes the elements of one file in order and fills its drawing. Raises ValueError."""

    drawing: Drawing

    def start(self, tag: str, attributes: Attributes) -> None: ...
    def end(self, tag: str) -> None: ...


def number(attributes: Attributes, name: str) -> float:
    """An attribute's value. Raises ValueError."""
    try:
        return float(attributes[name])
    except (KeyError, ValueError):
        raise ValueError(f"{name} is {attributes.get(name, '')[:40]!r}, not a number") from None
