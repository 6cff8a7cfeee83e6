"""Kernels of blurs and relief, from µm to the pixels of a view. Taps between pixels are spread bilinearly, so that a step
of a quarter of a pixel is one.
"""

import math

import numpy as np

from mlseg_dist.augment.parameters import Emboss, MotionBlur, Parameters

LEAST_SIGMA_PX = 0.3
"""A narrower Gaussian is invisible."""
_TAPS_PER_PX = 8


def gaussian_sigma_px(p: Parameters, mpp: float) -> float:
    """Sigma of all Gaussian blurs together (variances add); 0 where they are invisible."""
    variance = (p.gaussian_blur or 0.0) ** 2 + (p.glass_blur.sigma_um**2 if p.glass_blur else 0.0)
    sigma = math.sqrt(variance) / mpp
    return sigma if sigma >= LEAST_SIGMA_PX else 0.0


def motion_kernel(motion: MotionBlur, mpp: float) -> np.ndarray:
    """float32 (K, K), K odd, sum 1."""
    half = motion.length_um / mpp / 2
    along = np.linspace(-half, half, max(2, math.ceil(2 * half * _TAPS_PER_PX)))
    return _spread(along * math.cos(motion.angle), along * math.sin(motion.angle), np.full(len(along), 1 / len(along)))


def emboss_kernel(emboss: Emboss, mpp: float) -> np.ndarray:
    """float32 (K, K), K odd, sum 1: the pixel itself and what lies one step ahead and behind (correlation, as OpenCV has it)."""
    step = emboss.step_um / mpp
    x, y = step * math.cos(emboss.angle), step * math.sin(emboss.angle)
    weights = np.array([1, emboss.strength, -emboss.strength])
    return _spread(np.array([0, x, -x]), np.array([0, y, -y]), weights)


def _spread(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> np.ndarray:
    radius = math.ceil(max(np.abs(x).max(), np.abs(y).max()) - 1e-9)
    kernel = np.zeros(
        (2 * radius + 2, 2 * radius + 2)
    )  # one more than needed, so that the second tap always has a place
    column, row = np.floor(x + 1e-9).astype(int), np.floor(y + 1e-9).astype(int)
    right, below = x - column, y - row
    for dy, down in ((0, 1 - below), (1, below)):
        for dx, across in ((0, 1 - right), (1, right)):
            np.add.at(kernel, (row + radius + dy, column + radius + dx), weights * down * across)
    return kernel[:-1, :-1].astype(np.float32)
