"""The slide's background on a coarse picture: in, uint8 RGB at about 8 µm/px; out, the glass colour or that there is none.

Glass is bright, nearly neutral and flat. Of several such greys the brightest is glass: pale stroma comes after it.
"""

from dataclasses import dataclass

import cv2
import numpy as np

DARKEST = 180
"""No scanner's glass has a channel below this, in grey levels."""
_MOST_CHROMA = 30
_FLATTEST = 8  # grey levels between neighbours; stroma of pale IHC varies more
_SHARE = 0.02  # of the scanned pixels, within ±2 grey levels: less is pale tissue or a lumen


@dataclass(frozen=True)
class Glass:
    """colour: RGB, grey levels. share: of the scanned pixels that have this grey, 0 to 1."""

    colour: tuple[float, float, float]
    share: float


def unscanned(rgb: np.ndarray) -> np.ndarray:
    """Pixels that the scanner or the reader filled in: pure white or pure black, bool (h, w)."""
    low, high = extremes(rgb)
    return (low == 255) | (high == 0)


def extremes(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least and the greatest of the three channels; NumPy takes ten times as long along a short last axis."""
    first, second, third = cv2.split(image)
    return cv2.min(cv2.min(first, second), third), cv2.max(cv2.max(first, second), third)


def find_glass(rgb: np.ndarray) -> Glass | None:
    """The glass of a picture, uint8 (h, w, 3); None where nothing looks like glass: all tissue, or not brightfield."""
    low, high = extremes(rgb)
    filled = unscanned(rgb)
    steps = extremes(cv2.morphologyEx(rgb, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)))[1]
    candidates = (low >= DARKEST) & (high - low <= _MOST_CHROMA) & (steps <= _FLATTEST)
    # JPEG blends padding into its neighbours. A scanner whose glass is pure white has no other candidates.
    beside = cv2.dilate(filled.astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    for chosen, scanned in ((candidates & ~beside, ~filled), (candidates, high > 0)):
        found = _brightest_peak(rgb, chosen, int(scanned.sum()))
        if found:
            return found
    return None


def _brightest_peak(rgb: np.ndarray, chosen: np.ndarray, scanned: int) -> Glass | None:
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    counts = np.convolve(np.bincount(grey[chosen], minlength=256), np.ones(5), "same")
    around = np.array([counts[max(0, i - 6) : i + 7].max() for i in range(256)])
    peaks = np.flatnonzero((counts >= around) & (counts > 0) & (counts >= _SHARE * scanned))
    if not peaks.size:
        return None
    colour = np.median(rgb[chosen & (cv2.absdiff(grey, np.full_like(grey, peaks[-1])) <= 2)], axis=0)
    return Glass((float(colour[0]), float(colour[1]), float(colour[2])), float(counts[peaks[-1]] / scanned))
