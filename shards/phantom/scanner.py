"""What a scanner does to light: blur, sharpening, channel mixing, colour curve, white point, noise. RGB uint8 in and out."""

import cv2
import numpy as np
from numpy.random import Generator

from shards.phantom.catalog import SCANNERS

FIELD_UM = 1100.0
"""Side of a field that a scanner takes at once."""


def scan(random: Generator, picture: np.ndarray, scanner: str, mpp: float) -> np.ndarray:
    """The picture as this scanner shows it."""
    s = SCANNERS[scanner]
    seen = cv2.GaussianBlur(picture, (0, 0), s.blur / mpp)
    if s.sharpen:
        seen = cv2.addWeighted(seen, 1 + s.sharpen, cv2.GaussianBlur(seen, (0, 0), 1.5 / mpp), -s.sharpen, 0)
    leak = np.full((3, 3), s.mixing, np.float32)
    np.fill_diagonal(leak, 1 - 2 * s.mixing)
    seen = cv2.transform(seen, leak)
    if s.shading:
        seen = cv2.multiply(seen, cv2.merge([_light(seen.shape[:2], mpp, s.shading)] * 3), dtype=cv2.CV_8U)
    levels = np.arange(256) / 255
    curves = [np.round(white * levels**gamma) for gamma, white in zip(s.gamma, s.white, strict=True)]
    seen = cv2.LUT(seen, np.stack(curves, 1).astype(np.uint8)[None])
    grey = (random.standard_normal(picture.shape[:2], dtype=np.float32) * s.noise).astype(np.int8)
    return cv2.add(seen, cv2.merge([grey] * 3), dtype=cv2.CV_8U)


def _light(shape: tuple[int, int], mpp: float, shading: float) -> np.ndarray:
    """Light of a lamp that is brightest in the middle of each field of FIELD_UM, float32: 1 there, 1 - shading in its corners."""
    fall = [2 * ((np.arange(length) * mpp / FIELD_UM) % 1.0) - 1 for length in shape]
    return (1 - shading * (fall[0][:, None] ** 2 + fall[1][None, :] ** 2) / 2).astype(np.float32)
