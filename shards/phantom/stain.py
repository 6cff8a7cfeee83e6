"""Dye amounts to light: Beer-Lambert, I = white · 10^-(Σ amount · vector). Amount layers in, RGB uint8 out."""

import cv2
import numpy as np

from shards.phantom.canvas import UNIT, Canvas
from shards.phantom.catalog import LABS, STAINS, Vector

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
