"""Pixels of a slide by µm/px, and the colour of its glass. Coordinates are level-0 px (x, y), floats; a pixel's area is [x, x + 1).

Glass is bright, nearly neutral and flat. Where several greys fit, the brightest is glass: pale stroma is darker.
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
from PIL import Image

from mlseg_core.errors import UserError
from shards.pyramids import Unreadable, level_scales, open_pyramid
from shards.pyramids.pyramid import Bounds, scanned_bounds
from shards.scale import check_fine_enough, level0_mpp
from shards.slide_table import Slide
from shards.time_limit import OPENING_S, time_limit

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


_CACHE_BYTES = 64 << 20  # decoded tiles; enough for single views, cutting asks for more
OVERVIEW_PX = 1024
"""Longest side of the picture that shows a whole slide: its glass is found there, and people see it."""
_NO_GLASS = (240, 240, 240)
_LOST_PX = 32  # undecodable parts of a view are narrowed down to this
_MOST_SOURCE_PX = 4096  # a thumbnail is made of parts that read at most so many px a side


@dataclass(frozen=True)
class Overview:
    """A small picture of a whole slide, uint8 RGB (h, w, 3), read-only. lost_share: of it that cannot be decoded, 0 to 1."""

    rgb: np.ndarray
    lost_share: float


class SlideReader:
    """An open slide. size: level-0 (width, height) px; mpp: level-0 µm/px per axis (x, y); levels: their sizes.

    mpp_given: µm/px from the slide table, used instead of the file's own, from which it must not differ (see scale.py)
    unless `override` says that the file is wrong. cache_bytes: for decoded tiles.
    Raises UserError when the file cannot be opened, nobody knows its µm/px, or two figures contradict each other.
    """

    def __init__(
        self,
        path: Path,
        mpp_given: float | None = None,
        cache_bytes: int = _CACHE_BYTES,
        override: bool = False,
    ) -> None:
        self.path = path
        self._opened_with = (mpp_given, override)
        what = f"it took longer than {OPENING_S / 60:g} minutes to open the slide"
        with time_limit(
            OPENING_S, lambda: UserError(what, path, "Look at the file, and at the network that it lies on.")
        ):
            self._pyramid = open_pyramid(path, cache_bytes)
        self.levels = self._pyramid.sizes
        self.size = self.levels[0]
        self.properties = self._pyramid.properties
        self.tile_height = self._pyramid.tile_height
        try:
            self.mpp = level0_mpp(self._pyramid.mpp, mpp_given, override, path)
        except UserError:
            self._pyramid.close()
            raise
        self._glass: tuple[int, int, int] | None = None
        self.lost_why = ""
        """The latest reason why pixels could not be decoded."""

    def __enter__(self) -> "SlideReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._pyramid.close()

    def twin(self, cache_bytes: int = _CACHE_BYTES) -> "SlideReader":
        """The slide opened once more, for another thread: one reader serves one thread at a time.

        It shows the same pixels, and knows the levels' scales and the glass colour that this one has measured.
        """
        mpp_given, override = self._opened_with
        other = SlideReader(self.path, mpp_given, cache_bytes, override)
        other._scales, other._glass = self._scales, self.glass
        return other

    @cached_property
    def _scales(self) -> list[tuple[float, float]]:
        return level_scales(self._pyramid)

    @property
    def bounds(self) -> Bounds | None:
        """x, y, width, height of the scanned part, level-0 px; None: the file does not say."""
        return scanned_bounds(self.properties, self.size)

    def read(self, center: tuple[float, float], mpp: float, size_px: int) -> tuple[np.ndarray, np.ndarray]:
        """The square view of `size_px` at `mpp` centred on the level-0 point `center`: see `view`."""
        step = (mpp / self.mpp[0], mpp / self.mpp[1])
        corner = (center[0] - size_px * step[0] / 2, center[1] - size_px * step[1] / 2)
        return self.view(corner, step, (size_px, size_px)), self.inside(corner, step, (size_px, size_px))

    def view(self, corner: tuple[float, float], step: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
        """The view of `size` (width, height) px whose top left corner is the level-0 point `corner`; uint8 RGB.

        step: level-0 px per view px (x, y). Out of bounds is the slide's glass colour. Resampled from the nearest
        finer level by averages over areas. Raises Unreadable when pixels cannot be decoded.
        """
        level = self._finer_level(step)
        scale = self._scales[level]
        begin = (corner[0] / scale[0], corner[1] / scale[1])  # level px
        end = (begin[0] + size[0] * step[0] / scale[0], begin[1] + size[1] * step[1] / scale[1])
        reach = int(np.ceil(max(step[0] / scale[0], step[1] / scale[1]))) + 1  # the filter looks beyond the edge
        rgb, origin = self._region(level, begin, end, reach)
        box = (begin[0] - origin[0], begin[1] - origin[1], end[0] - origin[0], end[1] - origin[1])
        return _resample(rgb, box, size)

    def inside(self, corner: tuple[float, float], step: tuple[float, float], size: tuple[int, int]) -> np.ndarray:
        """Which pixels of a view have their centre on the slide, bool (height, width)."""
        x = corner[0] + (np.arange(size[0]) + 0.5) * step[0]
        y = corner[1] + (np.arange(size[1]) + 0.5) * step[1]
        return ((y >= 0) & (y < self.size[1]))[:, None] & ((x >= 0) & (x < self.size[0]))[None, :]

    def _finer_level(self, step: tuple[float, float]) -> int:
        fits = [
            i for i, scale in enumerate(self._scales) if scale[0] <= step[0] * 1.001 and scale[1] <= step[1] * 1.001
        ]
        return max(fits, key=lambda i: self._scales[i][0], default=0)

    def _region(
        self, level: int, begin: tuple[float, float], end: tuple[float, float], reach: int
    ) -> tuple[np.ndarray, tuple[float, float]]:
        """Level pixels that cover [begin, end) and `reach` more on each side, and where the array begins, level px.

        Out-of-bounds and never scanned pixels are glass.
        """
        width, height = self.levels[level]
        first = (int(np.floor(begin[0])) - reach, int(np.floor(begin[1])) - reach)
        last = (int(np.ceil(end[0])) + reach, int(np.ceil(end[1])) + reach)
        x0, y0 = max(0, first[0]), max(0, first[1])
        x1, y1 = min(width, last[0]), min(height, last[1])
        if (x0, y0) == first and (x1, y1) == last:
            part = self._pyramid.read(level, first, (x1 - x0, y1 - y0))
            if part.covered is None:
                return part.rgb, part.origin
        out = np.empty((last[1] - first[1], last[0] - first[0], 3), np.uint8)
        out[:] = self.glass
        if x1 <= x0 or y1 <= y0:
            return out, (float(first[0]), float(first[1]))
        part = self._pyramid.read(level, (x0, y0), (x1 - x0, y1 - y0))
        target = out[y0 - first[1] : y1 - first[1], x0 - first[0] : x1 - first[0]]
        if part.covered is None:
            target[:] = part.rgb
        else:
            target[part.covered] = part.rgb[part.covered]
        return out, (first[0] + part.origin[0] - x0, first[1] + part.origin[1] - y0)

    @property
    def glass(self) -> tuple[int, int, int]:
        """The slide's background colour; light grey when no glass is in sight."""
        if self._glass is None:
            found = find_glass(self.overview.rgb)
            red, green, blue = (round(level) for level in found.colour) if found else _NO_GLASS
            self._glass = (red, green, blue)
        return self._glass

    @cached_property
    def overview(self) -> Overview:
        """The whole slide at OVERVIEW_PX, made once: of it come the glass, what is lost of the slide, and its picture."""
        rgb, lost_share = self._whole(OVERVIEW_PX)
        rgb.setflags(write=False)
        return Overview(rgb, lost_share)

    def thumbnail(self, longest_px: int) -> np.ndarray:
        """The whole slide, uint8 RGB, its longer side at most `longest_px`. White: never scanned, or not to be decoded."""
        return self._whole(longest_px)[0]

    def _whole(self, longest_px: int) -> tuple[np.ndarray, float]:
        """A thumbnail, and the share of it that cannot be decoded.

        Read in parts, so that a slide without small levels does not fill the memory.
        """
        factor = min(1.0, longest_px / max(self.size))
        size = (max(1, round(self.size[0] * factor)), max(1, round(self.size[1] * factor)))
        step = (self.size[0] / size[0], self.size[1] / size[1])
        scale = self._scales[self._finer_level(step)]
        side = max(1, int(_MOST_SOURCE_PX * min(scale[0] / step[0], scale[1] / step[1])))
        out = np.full((size[1], size[0], 3), 255, np.uint8)
        glass, self._glass = self._glass, (255, 255, 255)
        lost = 0
        for top in range(0, size[1], side):
            for left in range(0, size[0], side):
                part = (min(side, size[0] - left), min(side, size[1] - top))
                view, gone = self.salvage((left * step[0], top * step[1]), step, part)
                out[top : top + part[1], left : left + part[0]] = view
                lost += int(gone.sum())
        self._glass = glass
        return out, lost / (size[0] * size[1])

    def salvage(
        self, corner: tuple[float, float], step: tuple[float, float], size: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """A view as far as it can be decoded, the rest white; and where it is lost, bool (height, width).

        What is lost is narrowed down to parts of at most 32 px.
        """
        (width, height), lost = size, np.zeros((size[1], size[0]), bool)
        try:
            return self.view(corner, step, size), lost
        except Unreadable as error:
            self.lost_why = str(error)
        out = np.full((height, width, 3), 255, np.uint8)
        if max(size) <= _LOST_PX:
            return out, ~lost
        cuts = [[slice(0, n // 2), slice(n // 2, n)] if n > 1 else [slice(0, 1)] for n in (height, width)]
        for rows, columns in product(*cuts):
            part = (columns.stop - columns.start, rows.stop - rows.start)
            begin = (corner[0] + columns.start * step[0], corner[1] + rows.start * step[1])
            out[rows, columns], lost[rows, columns] = self.salvage(begin, step, part)
        return out, lost


def open_slide(slide: Slide, high_mpp: float, cache_bytes: int = _CACHE_BYTES) -> SlideReader:
    """The slide of a row of the slide table, with the row's µm/px; for views of `high_mpp`. Raises UserError."""
    reader = SlideReader(slide.slide, slide.mpp, cache_bytes, slide.mpp_override)
    try:
        check_fine_enough(reader.mpp, high_mpp, slide.slide)
    except UserError:
        reader.close()
        raise
    return reader


# Pillow's Hamming filter averages areas as its box filter does, but does not dislocate them by parts of a pixel; only where
# hardly anything is shrunk it does, by up to 0.18 px, and the triangle filter does not.
_NEARLY_SAME = 1.2


def _resample(rgb: np.ndarray, box: tuple[float, float, float, float], size: tuple[int, int]) -> np.ndarray:
    """`box` (left, top, right, bottom) of `rgb`, shrunk or stretched to `size`; exact means where pixels fall together."""
    factor = (box[2] - box[0]) / size[0]
    whole = round(factor)
    left, top = round(box[0]), round(box[1])
    exact = (left, top, left + whole * size[0], top + whole * size[1])
    if whole >= 1 and max(abs(a - b) for a, b in zip(box, exact, strict=True)) < 1e-3:
        crop = rgb[exact[1] : exact[3], exact[0] : exact[2]]
        if whole == 1:
            return crop
        if whole == 2:  # OpenCV gives Pillow's bytes here, several times faster
            return cv2.resize(crop, size, interpolation=cv2.INTER_AREA)
        return np.asarray(Image.fromarray(np.ascontiguousarray(crop)).reduce(whole))
    height, width = rgb.shape[:2]
    box = (max(box[0], 0.0), max(box[1], 0.0), min(box[2], width), min(box[3], height))
    kind = Image.Resampling.BILINEAR if factor < _NEARLY_SAME else Image.Resampling.HAMMING
    return np.asarray(Image.fromarray(np.ascontiguousarray(rgb)).resize(size, kind, box=box))
