"""A picture -> what its appearance is, in numbers."""

from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

_TISSUE = 225
"""Grey level under which a pixel is tissue; glass is brighter than the 99th percentile of what is left."""


@dataclass(frozen=True)
class Look:
    """mean: of tissue in CIELab (L* 0 to 100, a*, b*). spread: standard deviation of L*. detail: in grey levels. glass: RGB."""

    mean: np.ndarray
    spread: float
    detail: float
    glass: np.ndarray


def of_picture(rgb: np.ndarray, mpp: float) -> Look:
    """rgb: uint8 (h, w, 3) at `mpp` µm/px. Colours are taken at 4 µm/px, detail at 1 µm/px."""
    fine = cv2.resize(rgb, None, fx=mpp, fy=mpp, interpolation=cv2.INTER_AREA) if mpp != 1 else rgb
    coarse = cv2.resize(fine, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(coarse, cv2.COLOR_RGB2GRAY)
    bright = coarse[grey >= np.percentile(grey, 99)]
    tissue = grey < min(_TISSUE, float(cv2.cvtColor(bright[None], cv2.COLOR_RGB2GRAY).mean()) - 8)
    lab = cv2.cvtColor(coarse.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)[tissue]
    shades = cv2.cvtColor(fine, cv2.COLOR_RGB2GRAY).astype(np.float32)
    high = shades - cv2.GaussianBlur(shades, (0, 0), 1.5)
    return Look(lab.mean(0), float(lab[:, 0].std()), float(high[shades < _TISSUE - 10].std()), bright.mean(0))


def nearest(look: Look, others: Iterable[Look]) -> float:
    """ΔE (CIE 1976) of the mean colours to the nearest of the others."""
    return min(float(np.linalg.norm(look.mean - other.mean)) for other in others)
