"""What a scanner does to light: blur, sharpening, channel mixing, colour curve, white point, noise. RGB uint8 in and out."""

import cv2
import numpy as np
from numpy.random import Generator

from shards.phantom.catalog import SCANNERS


def scan(random: Generator, picture: np.ndarray, scanner: str, mpp: float) -> np.ndarray:
    """The picture as this scanner shows it."""
    s = SCANNERS[scanner]
    seen = cv2.GaussianBlur(picture, (0, 0), s.blur / mpp)
    if s.sharpen:
        seen = cv2.addWeighted(seen, 1 + s.sharpen, cv2.GaussianBlur(seen, (0, 0), 1.5 / mpp), -s.sharpen, 0)
    leak = np.full((3, 3), s.mixing, np.float32)
    np.fill_diagonal(leak, 1 - 2 * s.mixing)
    seen = cv2.transform(seen, leak)
    levels = np.arange(256) / 255
    curves = [np.round(white * levels**gamma) for gamma, white in zip(s.gamma, s.white, strict=True)]
    seen = cv2.LUT(seen, np.stack(curves, 1).astype(np.uint8)[None])
    grey = (random.standard_normal(picture.shape[:2], dtype=np.float32) * s.noise).astype(np.int8)
    return cv2.add(seen, cv2.merge([grey] * 3), dtype=cv2.CV_8U)
