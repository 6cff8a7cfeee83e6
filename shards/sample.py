"""One sample: the pair of views with labels, and how it becomes the members of a tar.

Members: KEY.high.jpg KEY.high.png KEY.json KEY.low.jpg KEY.low.png. Images are JPEG 4:4:4; labels are PNGs of fine
class ids, 254 = excluded, 255 = unlabelled.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from shards.tar import fits

MEMBERS = ("high.jpg", "high.png", "json", "low.jpg", "low.png")
_PNG = [  # for label maps 3 times faster than the defaults, and smaller
    cv2.IMWRITE_PNG_COMPRESSION,
    1,
    cv2.IMWRITE_PNG_STRATEGY,
    cv2.IMWRITE_PNG_STRATEGY_RLE,
    cv2.IMWRITE_PNG_FILTER,
    cv2.IMWRITE_PNG_FILTER_UP,
]
_KEY = re.compile(r"[A-Za-z0-9_-]+\+y(\d{7,8})\+x(\d{7,8})")
_DIGITS = 7


@dataclass(frozen=True)
class Pair:
    """Images uint8 (S, S, 3) RGB, labels uint8 (S, S) fine class ids (254: excluded, 255: unlabelled), and the sample's JSON."""

    key: str
    high: np.ndarray
    low: np.ndarray
    high_label: np.ndarray
    low_label: np.ndarray
    info: dict[str, Any]


def position_digits(size: tuple[int, int]) -> int:
    """Digits of the positions in the KEYs of a slide of `size` level-0 px: alike in all of them, so that they sort."""
    return max(_DIGITS, len(str(max(size))))


def make_key(slug: str, center: tuple[float, float], digits: int = _DIGITS) -> str:
    """KEY of the patch of a slide at a level-0 centre (x, y): no dot, unique, sorts by slide, then position.

    digits: see position_digits. Raises ValueError for a name or a position that has no place in a KEY.
    """
    key = f"{slug}+y{round(center[1]):0{digits}d}+x{round(center[0]):0{digits}d}"
    if not _KEY.fullmatch(key) or not fits(key):
        raise ValueError(f"not a valid key: {key!r}")
    return key


def position_of(key: str) -> tuple[int, int]:
    """(x, y) of a patch's centre in level-0 px, as its KEY has them, rounded. Raises ValueError for a KEY without a position."""
    found = _KEY.fullmatch(key)
    if not found:
        raise ValueError(f"not a valid key: {key!r}")
    return int(found[2]), int(found[1])


def high_px(at: float, mpp0: float, high_mpp: float, ratio: int) -> int:
    """A coordinate of a patch's centre, level-0 px as its KEY or JSON has it, rounded -> px of the slide at `high_mpp`.

    Seeds lie on whole pixels of both views, which undoes the rounding. mpp0: µm/px of level 0 along that axis.
    """
    return ratio * round(at * mpp0 / high_mpp / ratio)


def encode_pair(pair: Pair, jpeg_quality: int) -> dict[str, bytes]:
    """Member name -> bytes. The same pair gives the same bytes."""
    return {
        "high.jpg": encode_jpeg(pair.high, jpeg_quality),
        "high.png": encode_png(pair.high_label),
        "json": encode_json(pair.info),
        "low.jpg": encode_jpeg(pair.low, jpeg_quality),
        "low.png": encode_png(pair.low_label),
    }


def encode_jpeg(rgb: np.ndarray, quality: int) -> bytes:
    options = [
        cv2.IMWRITE_JPEG_QUALITY,
        quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    ]
    return _encode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)


def encode_png(label: np.ndarray) -> bytes:
    return _encode(".png", label, _PNG)


def encode_json(info: dict[str, Any]) -> bytes:
    return json.dumps(info, sort_keys=True, ensure_ascii=False).encode()


def _encode(extension: str, image: np.ndarray, options: list[int]) -> bytes:
    done, data = cv2.imencode(extension, image, options)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a {extension}")
    return data.tobytes()


def decode_rgb(data: bytes) -> np.ndarray:
    """JPEG bytes -> uint8 (H, W, 3) RGB. Raises ValueError."""
    return cv2.cvtColor(_decode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def decode_label(data: bytes) -> np.ndarray:
    """PNG bytes -> uint8 (H, W). Raises ValueError."""
    return _decode(data, cv2.IMREAD_GRAYSCALE)


def _decode(data: bytes, mode: int) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), mode)
    if image is None:
        raise ValueError("the image cannot be decoded")
    return image
