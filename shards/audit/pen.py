"""Pixels painted by a marker: in, a coarse RGB picture and its µm/px; out, a bool mask.

Inks differ from stains by how they absorb (optical density per channel) and by the width of a stroke. Limits: pools of
blood look like red ink, blue ink must be dark (haematoxylin is blue), brown ink is DAB.
"""

import cv2
import numpy as np

from shards.reader import extremes

STROKE_UM = 60.0
"""What is narrower is no stroke but cells of that colour."""
_HALO_UM = 300.0  # how far a stroke fades out
_MPP = 15.0  # fine enough for strokes, and a quarter of the work

_WHITE = 246.0


def find_pen(rgb: np.ndarray, um_per_px: float) -> np.ndarray:
    """Where a marker painted, with the faded rim of the strokes; bool (h, w).

    Strong ink must hold a disc of STROKE_UM; from there the mask grows into weaker ink of the same kind.
    Densities of haematoxylin, eosin, DAB: Ruifrok & Johnston 2001. Published rules on RGB levels (deep-histopath, which
    HistoQC and histolab follow) call blue haematoxylin of IHC pen; differences of density do not.
    """
    factor = max(1, round(_MPP / um_per_px))
    if factor > 1 and min(rgb.shape[:2]) >= 8 * factor:
        size = (rgb.shape[1] // factor, rgb.shape[0] // factor)
        small = find_pen(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), um_per_px * factor)
        return cv2.resize(small.astype(np.uint8), rgb.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    density = np.log10((_WHITE + 1) / (cv2.medianBlur(rgb, 3).astype(np.float32) + 1)).clip(0)
    red, green, blue = cv2.split(density)
    least, most = extremes(density)
    # Green and blue ink: haematoxylin and eosin take more green than red, blued haematoxylin up to .15 less.
    # Red ink: eosin leaves blue, AEC takes red, blood is paler. Black ink: DAB and haematoxylin are far from grey.
    cold = (red > 0.35) & (red - green > 0.18)
    warm = (green > 0.7) & (blue > 0.8 * green) & (red < 0.4 * green)
    black = (least > 0.5) & (least > 0.55 * most) & (most > 0.9)
    side = max(3, round(STROKE_UM / um_per_px) | 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    strokes = cv2.morphologyEx((cold | warm | black).astype(np.uint8), cv2.MORPH_OPEN, disc)
    if not strokes.any():
        return strokes > 0
    cold_rim = (red > 0.04) & (red - green > 0.03)
    warm_rim = (green > 0.04) & (blue > 0.65 * green) & (red < 0.6 * green)
    black_rim = (most > 0.04) & (least > 0.6 * most)
    ink = cold_rim | warm_rim | black_rim | (strokes > 0)
    _, parts = cv2.connectedComponents(ink.astype(np.uint8), connectivity=8)
    painted = np.isin(parts, np.unique(parts[strokes > 0])) & ink & (_distance(strokes) * um_per_px <= _HALO_UM)
    return _distance(painted) * um_per_px <= STROKE_UM / 2


def _distance(mask: np.ndarray) -> np.ndarray:
    """To the nearest pixel of the mask, px."""
    return cv2.distanceTransform((mask == 0).astype(np.uint8), cv2.DIST_L2, 5)
