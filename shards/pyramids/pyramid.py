"""What a slide file offers to the reader, whichever backend opens it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True)
class Part:
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

    def read(self, level: int, first: tuple[int, int], size: tuple[int, int]) -> Part:
        """Pixels [first, first + size) of a level; they must lie inside it. Raises Unreadable."""
        ...

    def close(self) -> None: ...


def is_tiff(path: Path) -> bool:
    """By its first bytes: classic TIFF or BigTIFF, either byte order."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
