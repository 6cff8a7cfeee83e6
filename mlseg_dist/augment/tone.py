"""Colour as algebra: all ops that are linear in R, G, B are one matrix; gamma and hue windows are tables.

The matrix applies, in this order: pca, brightness, contrast, colour_jitter, heavy_colour. Nothing is clipped in between.
"""

import math
from collections.abc import Iterator

import numpy as np

from mlseg_dist.augment.parameters import Contrast, Jitter, Parameters, StainShift

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of R, G, B in luma (ITU-R BT.601)."""
_YIQ = np.array([LUMA, [0.596, -0.274, -0.322], [0.211, -0.523, 0.312]])
_RGB_OF_YIQ = np.linalg.inv(_YIQ)


def colour_matrix(p: Parameters) -> np.ndarray | None:
    """(3, 4): R, G, B, 1 -> R, G, B in grey levels of 255; None where nothing linear was drawn."""
    matrix = np.eye(4)
    changed = False
    for step in _linear_steps(p):
        matrix, changed = step @ matrix, True
    return matrix[:3] if changed else None


def _linear_steps(p: Parameters) -> Iterator[np.ndarray]:
    if p.pca is not None:
        yield _matrix(np.eye(3), np.array(p.pca))
    if p.brightness is not None:
        yield _matrix(p.brightness * np.eye(3))
    if p.contrast is not None:
        yield _contrast(p.contrast)
    for jitter in (p.colour_jitter, p.heavy_colour):
        if jitter is not None:
            yield _jitter(jitter)


def _matrix(linear: np.ndarray, offset: np.ndarray | float = 0.0) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = linear, offset
    return out


def _contrast(contrast: Contrast) -> np.ndarray:
    return _matrix(contrast.factor * np.eye(3), contrast.pivot * (1 - contrast.factor))


def _jitter(jitter: Jitter) -> np.ndarray:
    """Gain, then brightness, contrast, saturation, hue."""
    gain = _matrix(np.diag(jitter.gain) * jitter.brightness)
    chroma = _matrix(hue_matrix(jitter.hue) @ saturation_matrix(jitter.saturation))
    return chroma @ _contrast(jitter.contrast) @ gain


def saturation_matrix(factor: float) -> np.ndarray:
    """(3, 3): moves a colour away from its grey (> 1) or towards it; grey stays."""
    return factor * np.eye(3) + (1 - factor) * np.outer(np.ones(3), LUMA)


def hue_matrix(turn: float) -> np.ndarray:
    """(3, 3): turns the chroma plane of YIQ by `turn` of a circle; luma and grey stay."""
    cos, sin = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    return _RGB_OF_YIQ @ np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]]) @ _YIQ


def gamma_table(gamma: float) -> np.ndarray:
    """uint8 (256,)."""
    return np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)


def hue_weights(stain: StainShift) -> np.ndarray:
    """float32 (256,), by hue of 0 to 255 (a full circle): 1 within the window, falling to 0 over `soft` degrees outside."""
    degrees = np.arange(256) * (360 / 256)
    width = (stain.hue[1] - stain.hue[0]) % 360
    outside = np.abs((degrees - stain.hue[0] - width / 2 + 180) % 360 - 180) - width / 2
    if stain.soft == 0:
        return (outside <= 0).astype(np.float32)
    return np.clip(1 - outside / stain.soft, 0, 1).astype(np.float32)


def stain_weights(stain: StainShift) -> np.ndarray:
    """float32 (256,), by S of 0 to 255: 0 for unstained, 1 for stained pixels."""
    return np.clip((np.arange(256) - stain.none) / (stain.full - stain.none), 0, 1).astype(np.float32)


def dark_weights(stain: StainShift) -> np.ndarray:
    """float32 (256,), by V of 0 to 255: 1 for pixels dark enough to be stained, 0 for too bright ones; all 1 without a window."""
    if stain.dark is None:
        return np.ones(256, np.float32)
    full, none = stain.dark
    return np.clip((none - np.arange(256)) / (none - full), 0, 1).astype(np.float32)
