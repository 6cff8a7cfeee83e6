"""What each pixel of a picture is, without hue, saturation or value: optical density over the glass, unmixed into dyes.

Nuclei are where dye lies dense: above a threshold of the picture (Otsu) and above their surroundings, with the size of a nucleus.
Nobody outlined them by hand. Looked at, outlines are right for most nuclei in focus; pale ones out of focus are missed, rims of
black ones are a pixel or two too wide, and dark keratin and folds of H&E are taken for nuclei.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from skimage.filters import threshold_multiotsu, threshold_otsu
from skimage.morphology import remove_small_holes, remove_small_objects

_DYES = np.array([[0.650, 0.704, 0.286], [0.268, 0.570, 0.776]])
"""OD of haematoxylin and DAB (Ruifrok & Johnston 2001)."""
_TISSUE_OD, _DAB_OD, _LEAST_H = 0.08, 0.15, 0.12
_SHARP_UM, _TISSUE_UM = 0.4, 2.0
_LEAST_UM2, _HOLE_UM2, _OPENING_UM = 8.0, 12.0, 0.5
_WIDE = 1 / 3
"""DAB on more of the tissue than this marks no nuclei; pink on more of it is eosin."""


@dataclass(frozen=True)
class Truth:
    """Masks, bool (H, W). kind: of stain. brown: DAB lies there; stained pixels outside of nuclei are membranes and cytoplasm."""

    kind: str
    tissue: np.ndarray
    nuclei: np.ndarray
    brown: np.ndarray


def truth(image: np.ndarray, mpp: float) -> Truth:
    """image: uint8 RGB. mpp: µm/px."""
    density = _density(image)
    total = density.sum(-1)
    tissue = _blur(total, _TISSUE_UM / mpp) > _TISSUE_OD
    dyes = density @ np.linalg.pinv(_DYES)
    blue, brown = (_blur(np.maximum(dyes[..., dye], 0), _SHARP_UM / mpp) for dye in (0, 1))
    if _is_pink(image, tissue):
        red = _blur(density[..., 0], _SHARP_UM / mpp)  # eosin takes no red light
        nuclei = (red > threshold_otsu(red[tissue])) & (red > _blur(red, 10 / mpp))
        return Truth("H&E", tissue, _sized(nuclei, mpp), np.zeros_like(tissue))
    if (brown[tissue] > _DAB_OD).mean() > _WIDE:
        nuclei = (blue > _LEAST_H) & (blue > 1.15 * _blur(blue, 8 / mpp))
        return Truth("IHC, membranes", tissue, _sized(nuclei, mpp), tissue & (brown > _DAB_OD))
    sharp = _blur(total, _SHARP_UM / mpp)
    least = threshold_multiotsu(np.clip(sharp[tissue], 0, 1), 3)[0]
    nuclei = (sharp > least) & (sharp > _blur(np.clip(sharp, 0, 0.8), 12 / mpp))
    return Truth("IHC, nuclei", tissue, _sized(nuclei, mpp), tissue & (brown > _DAB_OD))


def _density(image: np.ndarray) -> np.ndarray:
    """float64 (H, W, 3), 0 on glass: the median of the brighter half of what is bright."""
    bright = image.reshape(-1, 3)[image.reshape(-1, 3).min(1) >= 200]
    glass = np.full(3, 245.0)
    if len(bright) > 100:
        light = bright.sum(1, dtype=int)
        glass = np.median(bright[light >= np.median(light)], 0)
    return np.maximum(-np.log10(np.maximum(image, 1) / glass), 0)


def _blur(plane: np.ndarray, sigma: float) -> np.ndarray:
    return cv2.GaussianBlur(plane, (0, 0), max(sigma, 0.4))


def _is_pink(image: np.ndarray, tissue: np.ndarray) -> bool:
    hue, saturation, _ = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV))
    coloured = tissue & (saturation > 40)
    return bool(((hue[coloured] > 145) & (hue[coloured] < 178)).mean() > _WIDE)


def _sized(nuclei: np.ndarray, mpp: float) -> np.ndarray:
    side = 2 * max(1, round(_OPENING_UM / mpp)) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    opened = cv2.morphologyEx(nuclei.astype(np.uint8), cv2.MORPH_OPEN, disc).astype(bool)
    large = remove_small_objects(opened, max_size=int(_LEAST_UM2 / mpp**2))
    return np.asarray(remove_small_holes(large, max_size=int(_HOLE_UM2 / mpp**2)), bool)
