"""Random fields: smooth noise, and fibres that follow a field of directions. float32 arrays, mean about 0 or range 0..1."""

import cv2
import numpy as np
from numpy.random import Generator

_DIRECTIONS = 6
_TILE = 512


def smooth_noise(random: Generator, shape: tuple[int, int], cell_px: float) -> np.ndarray:
    """Normal noise (standard deviation about .7) with bumps of `cell_px`. shape: (rows, columns)."""
    small = (max(4, int(shape[0] / cell_px) + 3), max(4, int(shape[1] / cell_px) + 3))
    values = random.standard_normal(small, dtype=np.float32)
    return cv2.resize(values, (shape[1], shape[0]), interpolation=cv2.INTER_CUBIC)


def directions(random: Generator, shape: tuple[int, int], cell_px: float) -> np.ndarray:
    """A smooth field of angles in radians, 0..π."""
    return np.mod(smooth_noise(random, shape, cell_px) * 1.6 + random.uniform(0, np.pi), np.pi).astype(np.float32)


def fibres(random: Generator, angles: np.ndarray, length_px: int, width_px: float) -> np.ndarray:
    """Noise drawn out along `angles`; standard deviation about 1.

    Blends a few repeating tiles, one per direction: line integrals along the field would cost seconds.
    """
    rows, columns = angles.shape
    result = np.zeros(angles.shape, np.float32)
    step = np.pi / _DIRECTIONS
    for i in range(_DIRECTIONS):
        tile = _streaks(random, i * step, length_px, width_px)
        tile = np.roll(tile, (int(random.integers(_TILE)), int(random.integers(_TILE))), (0, 1))
        apart = np.abs(angles - i * step)
        apart = np.minimum(apart, np.pi - apart)
        weight = np.clip(1 - apart / step, 0, 1)
        whole = np.tile(tile, (-(-rows // _TILE), -(-columns // _TILE)))[:rows, :columns]
        result += np.sqrt(weight) * whole
    return result


def _streaks(random: Generator, angle: float, length_px: int, width_px: float) -> np.ndarray:
    """A tile that repeats seamlessly, with streaks in one direction."""
    side = length_px | 1
    axis = np.arange(side) - side // 2
    x, y = np.meshgrid(axis, axis)
    along, across = x * np.cos(angle) + y * np.sin(angle), -x * np.sin(angle) + y * np.cos(angle)
    kernel = np.exp(-0.5 * (along / (side / 4)) ** 2 - 0.5 * (across / width_px) ** 2).astype(np.float32)
    noise = np.pad(random.standard_normal((_TILE, _TILE), dtype=np.float32), side, mode="wrap")
    streaks = cv2.filter2D(noise, -1, kernel)[side:-side, side:-side]
    return (streaks - streaks.mean()) / streaks.std()
