"""From dye amounts to a scanned picture: Beer-Lambert, I = white · 10^-(Σ amount · vector), then what a scanner does to that light.

Amount layers in, RGB uint8 out. A scanner blurs, sharpens, mixes channels, and adds a colour curve, a white point and noise.
"""

import cv2
import numpy as np
from numpy.random import Generator

from shards.phantom.canvas import UNIT, Canvas
from shards.phantom.catalog import LABS, SCANNERS, STAINS, Vector

_STRIP = 256


def vectors(stain: str, lab: str) -> np.ndarray:
    """3×3 float32: a column per dye (counterstain, chromogen, matrix) of OD in R, G, B, as this lab stains."""
    s, made_by = STAINS[stain], LABS[lab]
    columns = [
        _turned(s.counterstain, made_by.turn) * made_by.counterstain * s.strength[0],
        _turned(s.chromogen, made_by.turn) * made_by.chromogen,
        _turned(s.matrix, made_by.turn) * made_by.matrix * s.strength[1],
    ]
    return np.stack(columns, 1).astype(np.float32)


def _turned(vector: Vector, turn: float) -> np.ndarray:
    """Unit vector with more red (turn > 0) or more blue light taken out."""
    turned = np.array(vector) * np.array([1 + turn, 1.0, 1 - turn])
    return turned / np.linalg.norm(turned)


def transmitted(canvas: Canvas, mixing: np.ndarray, grain: np.ndarray, thickness: np.ndarray) -> np.ndarray:
    """RGB uint8, glass = 255.

    grain: a small repeating float32 tile (mean 1) that gives each dye its fine texture; thickness: float32 rows×columns,
    1 = one section thick.
    """
    rows, columns = canvas.shape
    picture = np.empty((rows, columns, 3), np.uint8)
    side = grain.shape[0]
    wide = np.tile(grain, (1, -(-columns // side)))[:, :columns]
    exponent = (-np.log(10.0) / UNIT * mixing).astype(np.float32)
    for top in range(0, rows, _STRIP):
        part = slice(top, min(top + _STRIP, rows))
        amounts = cv2.merge([canvas.counterstain[part], canvas.chromogen[part], canvas.matrix[part]]).astype(np.float32)
        lines = np.arange(part.start, part.stop) % side
        amounts *= (wide[lines] * thickness[part])[:, :, None]
        density = cv2.transform(amounts, exponent)
        cv2.exp(density, density)
        picture[part] = cv2.convertScaleAbs(density, alpha=255.0)
    return picture


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
