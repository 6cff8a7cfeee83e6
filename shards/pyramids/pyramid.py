"""What a slide file offers to the reader, whichever backend opens it, and which part of it was scanned."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from shards.regular_files import require_regular


@dataclass(frozen=True)
class LevelPixels:
    """Pixels of a level. rgb: uint8 (height, width, 3); covered: bool (height, width), None: all of it was scanned.

    origin: where the array's first pixel really begins, level px (x, y); beside what was asked for by a part of a pixel
    in backends that address level 0 in whole pixels.
    """

    rgb: np.ndarray
    covered: np.ndarray | None
    origin: tuple[float, float]


class Unreadable(Exception):
    """Some pixels of an open slide cannot be decoded; the rest still can."""


class Pyramid(Protocol):
    """An open slide file. Sizes are (width, height), coordinates (x, y)."""

    sizes: list[tuple[int, int]]
    """Per level, finest first, px."""
    mpp: tuple[float, float] | None
    """Level-0 µm/px per axis as the file says it, or None."""
    properties: dict[str, str]
    tile_height: int
    """Rows of level 0 that are decoded together, px."""

    def read(self, level: int, first: tuple[int, int], size: tuple[int, int]) -> LevelPixels:
        """Pixels [first, first + size) of a level; they must lie inside it. Raises Unreadable."""
        ...

    def close(self) -> None: ...


def is_tiff(path: Path) -> bool:
    """By its first bytes: classic TIFF or BigTIFF, either byte order. Raises OSError, for what is no regular file too."""
    require_regular(path)
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


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
