"""Class colours over pictures of tissue."""

import cv2
import numpy as np

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.report.look import CLASS_COLOURS, rgb

STRENGTH = np.array([0.28, 0.48, 0.48], np.float32)
"""How much of the colour covers the tissue, per class: background is quiet."""
COLOURS = np.array([rgb(CLASS_COLOURS[name]) for name in CLASSES], np.float32)


def overlay(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Class colours over an RGB image of the same size, their edges drawn full; ignored pixels (255) are paled."""
    out = image.astype(np.float32)
    known = label != IGNORED
    strength = STRENGTH[label[known]][:, None]
    out[known] = (1 - strength) * out[known] + strength * COLOURS[label[known]]
    out[~known] = 0.35 * out[~known] + 0.65 * 255
    edge = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    edge &= known
    out[edge] = COLOURS[label[edge]]
    return out.round().astype(np.uint8)
