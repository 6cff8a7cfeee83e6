"""Tissue detection at a coarse resolution: in, an open slide; out, where tissue is, over the whole slide.

Otsu's threshold, on saturation or on what the tissue takes from the slide's own glass colour. What is far
above is clipped first: Otsu finds the widest gap, which else lies inside the tissue, between its pale and dark parts.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from shards.audit.config import TissueConfig
from shards.audit.pen import find_pen
from shards.reader import Glass, SlideReader, extremes, find_glass, unscanned

_LONGEST_PX = (256, 4096)
"""Bounds of the coarse picture: of tiny regions and of slides of any size."""
_CLIP = {"glass": 24, "saturation": 40}
"""Grey levels darker than glass, HSV saturation of 255: surely tissue."""
_NOISE = {"glass": 8, "saturation": 12}
"""Less than this is noise and uneven light, even where Otsu finds nothing else to part."""
_DEFAULT = TissueConfig()
_SPECK_UM2 = 50.0**2
_HOLE_UM2 = 100.0**2
_MOST_CLEANED = 0.01
"""Nothing above this share of the picture is a speck or a hole: a cropped region can be smaller than those."""


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


@dataclass(frozen=True)
class CoarseView:
    """The whole slide at um_per_px µm/px: rgb uint8 (h, w, 3), its glass, pen bool (h, w) and tissue."""

    rgb: np.ndarray
    um_per_px: float
    glass: Glass | None
    pen: np.ndarray
    tissue: TissueMask


def find_tissue(reader: SlideReader, config: TissueConfig = _DEFAULT) -> TissueMask:
    """Where tissue is. Pen and pixels that were never scanned are not tissue; without any glass all the rest is."""
    return look(reader, config).tissue


def look(reader: SlideReader, config: TissueConfig) -> CoarseView:
    """The slide at config.mpp, or coarser where that exceeds 4096 px a side."""
    own_mpp = math.sqrt(reader.mpp[0] * reader.mpp[1])
    fewest, most = _LONGEST_PX
    rgb = reader.thumbnail(min(most, max(fewest, round(max(reader.size) * own_mpp / config.mpp))))
    um_per_px = max(reader.size) * own_mpp / max(rgb.shape[:2])
    glass = find_glass(rgb)
    pen = find_pen(rgb, um_per_px)
    tissue = ~unscanned(rgb) & ~pen
    if glass:
        tissue &= _without_specks(_absorbing(rgb, glass, config.method), um_per_px)
    scale = (reader.size[0] / rgb.shape[1], reader.size[1] / rgb.shape[0])
    return CoarseView(rgb, um_per_px, glass, pen, TissueMask(tissue, scale))


def _absorbing(rgb: np.ndarray, glass: Glass, method: str) -> np.ndarray:
    if method == "saturation":
        signal = cv2.cvtColor(rgb, cv2.COLOR_RGB2HSV)[..., 1]
    else:
        _, signal = extremes(cv2.subtract(np.full_like(rgb, np.round(glass.colour)), rgb))  # brighter than glass: 0
    clipped = np.minimum(cv2.medianBlur(signal, 3), _CLIP[method])
    threshold, _ = cv2.threshold(clipped, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    return clipped > max(int(threshold), _NOISE[method])


def _without_specks(mask: np.ndarray, um_per_px: float) -> np.ndarray:
    """No tissue below 50×50 µm, no hole below 100×100 µm. By area, not by width: thin strands stay, gaps stay open."""
    speck_px, hole_px = (min(area / um_per_px**2, _MOST_CLEANED * mask.size) for area in (_SPECK_UM2, _HOLE_UM2))
    kept = _larger(mask, speck_px, connectivity=8)
    return ~_larger(~kept, hole_px, connectivity=4)


def _larger(mask: np.ndarray, least_px: float, connectivity: int) -> np.ndarray:
    _, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=connectivity)
    large = stats[:, cv2.CC_STAT_AREA] >= least_px
    large[0] = False  # the part that is not of the mask
    return large[parts]
