"""Samples of a TIFF as they are stored -> 8-bit RGB, for the kinds of colours that no decoder turns into RGB by itself.

A palette is looked up, YCbCr is converted as TIFF 6.0 (section 21) and libtiff do, and alpha says what was never scanned.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import tifffile

RGB, PALETTE, YCBCR = 2, 3, 6
LOSSLESS = {1, 5, 8, 32773, 32946, 34887, 34925, 34926, 34933, 50000}
"""None, LZW, deflate, PackBits, deflate, LERC, LZMA, zstd, PNG, zstd: YCbCr stays YCbCr in them."""
_UNSPECIFIED, _UNASSOCIATED = 0, 2  # of ExtraSamples
_LUMA = (0.299, 0.587, 0.114)
_BLACK_WHITE = (0.0, 255.0, 128.0, 255.0, 128.0, 255.0)


def stays_ycbcr(page: tifffile.TiffPage) -> bool:
    """Whether the samples are YCbCr after they are decompressed."""
    return page.photometric == YCBCR and page.compression in LOSSLESS


def is_subsampled(page: tifffile.TiffPage) -> bool:
    """Whether uncompressed YCbCr has fewer Cb and Cr than Y; without the tag it is 2 × 2, as TIFF 6.0 says.

    In planes of their own they are of full size, whatever the tag says, as libtiff and tifffile write them.
    """
    return stays_ycbcr(page) and page.planarconfig != 2 and tuple(page.tags.valueof(530, (2, 2))) != (1, 1)


def has_alpha(page: tifffile.TiffPage) -> bool:
    """Whether the fourth sample of RGB is alpha. One of no stated meaning is not; without any tag it is, as in libtiff."""
    return page.samplesperpixel == 4 and page.extrasamples[:1] != (_UNSPECIFIED,)


def colour_map(page: tifffile.TiffPage) -> np.ndarray:
    """uint8 (256, 3) of a palette, cut down as libtiff does; some programs write 8-bit colours into it. Raises ValueError."""
    found = page.colormap
    if found is None:
        raise ValueError("it has a palette without colours")
    return np.ascontiguousarray((found >> 8 if found.max() > 255 else found).astype(np.uint8).T)


def _first_three(stored: np.ndarray) -> np.ndarray:
    return stored[..., :3]


def _looked_up(table: np.ndarray, stored: np.ndarray) -> np.ndarray:
    found: np.ndarray = table[stored[..., 0]]
    return found


@dataclass(frozen=True)
class ToRgb:
    """How the samples of a page become RGB. Takes uint8 (height, width, samples), gives (height, width, 3).

    Where the page has alpha the result has a fourth channel: 0 where nothing was scanned.
    """

    convert: Callable[[np.ndarray], np.ndarray]
    alpha: bool
    is_associated: bool

    @classmethod
    def of(cls, page: tifffile.TiffPage) -> "ToRgb":
        """Of a page that colour_fault lets pass."""
        convert: Callable[[np.ndarray], np.ndarray] = _first_three
        if page.photometric == PALETTE:
            convert = partial(_looked_up, colour_map(page))
        elif stays_ycbcr(page):
            convert = _from_ycbcr(page)
        return cls(convert, has_alpha(page), page.extrasamples[:1] != (_UNASSOCIATED,))

    def __call__(self, stored: np.ndarray) -> np.ndarray:
        rgb = self.convert(stored)
        if not self.alpha:
            return rgb
        alpha = stored[..., 3:4]
        if self.is_associated and alpha.min() < 255:  # colours were multiplied by it
            share = np.maximum(alpha, 1).astype(np.float32) / 255
            rgb = np.clip(rgb / share + 0.5, 0, 255).astype(np.uint8)
        return np.concatenate([rgb, alpha], axis=-1)


def _from_ycbcr(page: tifffile.TiffPage) -> Callable[[np.ndarray], np.ndarray]:
    luma = np.array(_rationals(page, 529, _LUMA))
    black_white = np.array(_rationals(page, 532, _BLACK_WHITE)).reshape(3, 2)
    black = black_white[:, 0]
    factor = np.array([255.0, 127.0, 127.0]) / (black_white[:, 1] - black)
    red, blue = 2 - 2 * luma[0], 2 - 2 * luma[2]
    matrix = np.array(
        [[1, 0, red], [1, -luma[2] * blue / luma[1], -luma[0] * red / luma[1]], [1, blue, 0]]
    )  # rows: R, G, B

    def convert(stored: np.ndarray) -> np.ndarray:
        ycbcr = (stored[..., :3].astype(np.float32) - black.astype(np.float32)) * factor.astype(np.float32)
        return np.clip(np.rint(ycbcr @ matrix.T.astype(np.float32)), 0, 255).astype(np.uint8)

    return convert


def _rationals(page: tifffile.TiffPage, tag: int, default: tuple[float, ...]) -> tuple[float, ...]:
    """A tag of fractions; the default where it is missing or makes no sense."""
    found = page.tags.valueof(tag, None)
    if not isinstance(found, tuple) or len(found) != 2 * len(default):
        return default
    values = tuple(count / per if per else 0.0 for count, per in zip(found[::2], found[1::2], strict=True))
    sound = all(values) if len(values) == 3 else all(a < b for a, b in zip(values[::2], values[1::2], strict=True))
    return values if sound else default
