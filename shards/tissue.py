"""Tissue detection: Otsu's threshold (the paper's filter), at a coarse resolution."""

from dataclasses import dataclass

import cv2
import numpy as np

from shards.reader import SlideReader


@dataclass(frozen=True)
class TissueMask:
    """mask: bool (height, width) over the whole slide; scale: level-0 px per mask px (x, y)."""

    mask: np.ndarray
    scale: tuple[float, float]

    def at(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether level-0 points lie on tissue; points off the slide do not."""
        column = np.floor(x / self.scale[0]).astype(int)
        row = np.floor(y / self.scale[1]).astype(int)
        inside = (column >= 0) & (row >= 0) & (column < self.mask.shape[1]) & (row < self.mask.shape[0])
        out = np.zeros(np.shape(x), bool)
        out[inside] = self.mask[row[inside], column[inside]]
        return out


def find_tissue(reader: SlideReader, mpp: float = 8.0, most_px: int = 8192) -> TissueMask:
    """Otsu on the distance of a blurred thumbnail, at `mpp` µm/px or coarser, from the slide's glass colour.

    Otsu finds the widest gap, which on pale IHC lies between pale and dark tissue, not between glass and tissue. So what
    is above the first threshold is clipped to it and Otsu is asked again: then only the gap below counts. (On saturation,
    the usual choice, two rounds left out half of the pale IHC phantoms' tissue.)
    """
    longest_um = max(size * scale for size, scale in zip(reader.size, reader.mpp, strict=True))
    rgb = cv2.medianBlur(reader.thumbnail(min(most_px, max(64, round(longest_um / mpp)))), 7)
    distance = cv2.absdiff(rgb, np.full_like(rgb, reader.glass)).max(axis=2)
    first, _ = cv2.threshold(distance, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    _, mask = cv2.threshold(np.minimum(distance, int(first)), 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    closed = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    return TissueMask(closed, (reader.size[0] / closed.shape[1], reader.size[1] / closed.shape[0]))
