"""Where an annotation's coordinates begin: at the corner of level 0, or at the corner of the scanned bounds.

Level 0 of a Leica SCN, MRXS or BIF slide is the whole glass; `openslide.bounds-*` names the part that was scanned.
QuPath's OpenSlide server shows, and exports relative to, the bounds alone (unless it was opened with --no-crop, or
through Bio-Formats, which numbers otherwise: then the slide table's column `origin` says level0). ASAP, ImageScope and
HALO show all of level 0. A label mask covers one or the other, which its size tells: see fitting.py.
"""

from dataclasses import dataclass
from typing import Literal

from shards.pyramids.pyramid import Bounds
from shards.reader import SlideReader

Format = Literal["geojson", "asap", "aperio", "mask"]
Origin = Literal["level0", "bounds"]

FORMAT_NAMES: dict[str, str] = {
    "geojson": "GeoJSON",
    "asap": "ASAP XML",
    "aperio": "Aperio or HALO XML",
    "mask": "label mask",
}
_OWN_ORIGIN: dict[Format, Origin] = {"geojson": "bounds", "asap": "level0", "aperio": "level0", "mask": "level0"}


@dataclass(frozen=True)
class Frame:
    """The slide that an annotation is laid on.

    size: level-0 (width, height) px; mpp: µm/px (x, y); bounds: the scanned part, see SlideReader.bounds; levels: sizes
    of the slide's levels, px; origin: what the slide table says of the annotation, `level0`, `bounds` or None.
    """

    size: tuple[int, int]
    mpp: tuple[float, float]
    bounds: Bounds | None = None
    levels: tuple[tuple[int, int], ...] = ()
    origin: str | None = None

    @classmethod
    def of(cls, reader: SlideReader, origin: str | None = None) -> "Frame":
        """The frame of an open slide whose row in the slide table says `origin`."""
        return cls(reader.size, reader.mpp, reader.bounds, tuple(reader.levels), origin)

    @property
    def scanned(self) -> tuple[float, float, float, float]:
        """x0, y0, x1, y1 of the part that was scanned, level-0 px."""
        x, y, width, height = self.bounds or (0, 0, *self.size)
        return (float(x), float(y), float(min(x + width, self.size[0])), float(min(y + height, self.size[1])))


@dataclass(frozen=True)
class Placement:
    """How an annotation was laid on its slide.

    origin and offset: its coordinates begin at the level-0 point `offset` (x, y).  stated: the slide table says so.
    plane: (z, t) that it was drawn on.
    """

    format: Format
    origin: Origin
    offset: tuple[float, float] = (0.0, 0.0)
    stated: bool = False
    plane: tuple[int, int] = (0, 0)

    def __str__(self) -> str:
        """For people: "level 0", or "the scanned bounds at (1000, 600)"."""
        if self.origin == "level0":
            return "level 0"
        return f"the scanned bounds at ({self.offset[0]:g}, {self.offset[1]:g})"


def place(format: Format, bounds: Bounds | None, override: str | None = None) -> Placement:
    """Which origin holds for a format on a slide with these bounds. override: column `origin` of the slide table.

    A slide without bounds was scanned in full, so that both origins are the same point: the offset is (0, 0).
    """
    origin: Origin = _OWN_ORIGIN[format]
    if override is not None:
        origin = "bounds" if override == "bounds" else "level0"
    if bounds is None or origin == "level0":
        return Placement(format, "level0" if bounds is None else origin, stated=override is not None)
    return Placement(format, origin, (float(bounds[0]), float(bounds[1])), override is not None)
