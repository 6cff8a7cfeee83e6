"""The part of level 0 that was scanned, as OpenSlide's properties name it (Leica SCN, MRXS, BIF and others)."""

from collections.abc import Mapping

Bounds = tuple[int, int, int, int]
"""x, y, width, height in level-0 px."""


def scanned_bounds(properties: Mapping[str, str], size: tuple[int, int]) -> Bounds | None:
    """The bounds that the file names; None: it names none, or none that lie on a level 0 of `size` (width, height)."""
    try:
        x, y, width, height = (int(properties[f"openslide.bounds-{name}"]) for name in ("x", "y", "width", "height"))
    except (KeyError, ValueError):
        return None
    lies_on_slide = 0 <= x < size[0] and 0 <= y < size[1] and width > 0 and height > 0
    return (x, y, width, height) if lies_on_slide else None
