"""Tissue detection: Otsu's threshold on saturation (the paper's filter), at a coarse resolution."""

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


def find_tissue(reader: SlideReader, longest_px: int = 1024) -> TissueMask:
    """Otsu on saturation of a blurred thumbnail."""
    rgb = reader.thumbnail(longest_px)
    saturation = cv2.cvtColor(cv2.medianBlur(rgb, 7), cv2.COLOR_RGB2HSV)[..., 1]
    _, mask = cv2.threshold(saturation, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)) > 0
    return TissueMask(mask, (reader.size[0] / mask.shape[1], reader.size[1] / mask.shape[0]))
