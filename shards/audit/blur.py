"""Sharpness of the tissue: in, an open slide and its tissue mask; out, a figure for each of a bounded number of tiles.

sharpness = spread of what is finer than 1 px by spread of what is 2 to 4 px wide, at 1 µm/px: a ratio of contrasts, so
stain and content cancel. Limits: noise counts as sharpness (3 grey levels hide a blur of 3 µm);
tissue without texture is not judged.
"""

import cv2
import numpy as np

from shards.audit.tissue import TissueMask
from shards.reader import SlideReader

BLURRED = 0.4
"""Below this a tile is out of focus. Sharp tissue of real slides has .49 to 1.5; blur of sigma 2 µm leaves .21 to .35."""
_MPP = 1.0
_TILE_PX = 256
_LEAST_PX = 64  # a smaller slide is not judged
_TILES = 48
_FLAT = 1.0  # grey levels; below, there is no texture to judge


def sharpness(rgb: np.ndarray) -> float | None:
    """Sharpness of one view at 1 µm/px, uint8 (h, w, 3); None when it has no texture."""
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    by_1, by_2, by_4 = (cv2.GaussianBlur(grey, (0, 0), sigma) for sigma in (1, 2, 4))
    coarse = float((by_2 - by_4).std())
    return float((grey - by_1).std()) / coarse if coarse >= _FLAT else None


def tissue_sharpness(reader: SlideReader, tissue: TissueMask) -> np.ndarray:
    """Sharpness of at most 48 tiles of 256 px at 1 µm/px (or the slide's own, if coarser), evenly taken from those that
    are at least half tissue; float (n,). The same slide gives the same tiles."""
    mpp = max(_MPP, *reader.mpp)
    side = min(_TILE_PX, *(int(size * own / mpp) for size, own in zip(reader.size, reader.mpp, strict=True)))
    if side < _LEAST_PX:
        return np.zeros(0)
    centres = _tiles_on_tissue(reader, tissue, mpp, side)
    taken = centres[np.linspace(0, len(centres) - 1, min(_TILES, len(centres))).round().astype(int)]
    figures = [sharpness(reader.read((x, y), mpp, side)[0]) for x, y in taken]
    return np.array([figure for figure in figures if figure is not None])


def _tiles_on_tissue(reader: SlideReader, tissue: TissueMask, mpp: float, side: int) -> np.ndarray:
    """Level-0 centres (x, y) of the tiles that are at least half tissue, float (n, 2).

    Tiles lie from edge to edge, overlapping a little, at whole pixels of `mpp`: half a pixel beside would smooth them.
    """
    step = mpp / np.array(reader.mpp)  # level-0 px per view px
    spare = np.maximum(np.array(reader.size) / step - side, 0)
    columns, rows = (int(count) for count in np.ceil(spare / side) + 1)
    shares = cv2.resize(tissue.mask.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA)
    row, column = np.nonzero(shares >= 0.5)
    place = np.stack([column / max(1, columns - 1), row / max(1, rows - 1)], axis=1)
    return (np.floor(place * spare) + side / 2) * step
