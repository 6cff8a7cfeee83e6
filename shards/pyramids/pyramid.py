"""What a slide file offers to the reader, and which backend opens it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mlseg_core.errors import UserError


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


def open_pyramid(path: Path, cache_bytes: int) -> Pyramid:
    """Open a slide file, or a folder of DICOM files. cache_bytes: for decoded tiles. Raises UserError."""
    from shards.pyramids.openslide_pyramid import OpenSlidePyramid, refusal
    from shards.pyramids.tiff import TiffPyramid
    from shards.pyramids.tiles import same_by_tiles

    file = first_dicom(path) if path.is_dir() else path
    why = refusal(file)
    if why is None:
        slide = OpenSlidePyramid(file, cache_bytes)
        tiles = same_by_tiles(slide, file, cache_bytes)
        if tiles is None:
            return slide
        slide.close()
        return tiles
    if is_tiff(file):
        return TiffPyramid(file, cache_bytes)
    raise UserError(f"the slide cannot be opened ({why})", path, "Restore the file or drop its row.")


def first_dicom(folder: Path) -> Path:
    """One file of a folder that holds a DICOM slide; OpenSlide finds the others. Raises UserError."""
    files = sorted(folder.glob("*.dcm"))
    if not files:
        raise UserError("the folder holds no .dcm files", folder, "Name a slide file, or a folder of one DICOM slide.")
    return files[0]


def is_tiff(path: Path) -> bool:
    """By its first bytes: classic TIFF or BigTIFF, either byte order."""
    with open(path, "rb") as file:
        return file.read(4) in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
