"""Pixels of a slide by µm/px. Coordinates are level-0 px (x, y), floats; a pixel's area is [x, x + 1)."""

from pathlib import Path
from types import TracebackType

import cv2
import numpy as np
import openslide
from PIL import Image

from mlseg_core.errors import UserError


class SlideReader:
    """An open slide. size: level-0 (width, height) px; mpp: level-0 µm/px per axis (x, y).

    mpp_given: µm/px from the slide table, used instead of the file's own.
    Raises UserError when the file cannot be opened or nobody knows its µm/px.
    """

    def __init__(self, path: Path, mpp_given: float | None = None) -> None:
        self.path = path
        try:
            self._slide = openslide.OpenSlide(str(path))
        except openslide.OpenSlideError as error:
            raise UserError(
                f"the slide cannot be opened ({error})", path, "Restore the file or drop its row."
            ) from None
        self.size = self._slide.dimensions
        self.mpp = self._mpp(mpp_given)
        self._scales = [(self.size[0] / w, self.size[1] / h) for w, h in self._slide.level_dimensions]
        self._glass: tuple[int, int, int] | None = None

    def __enter__(self) -> "SlideReader":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._slide.close()

    def _mpp(self, given: float | None) -> tuple[float, float]:
        if given is not None:
            return given, given
        properties = self._slide.properties
        try:
            mpp = (float(properties["openslide.mpp-x"]), float(properties["openslide.mpp-y"]))
        except (KeyError, ValueError):
            mpp = (0.0, 0.0)
        if not all(0.01 < value < 100 for value in mpp):
            self._slide.close()
            raise UserError("the slide does not say its µm/px", self.path, "Fill in column mpp of the slide table.")
        return mpp

    def read(self, center: tuple[float, float], mpp: float, size_px: int) -> tuple[np.ndarray, np.ndarray]:
        """The square view of `size_px` at `mpp` centred on the level-0 point `center`.

        Returns the image, uint8 (size, size, 3) RGB, and where it lies on the slide, bool (size, size). Out of
        bounds is the slide's glass colour. Resampled from the nearest finer level with Pillow's Hamming filter, which
        averages areas as its box filter does, but without that one's dislocations by parts of a pixel.
        """
        step = (mpp / self.mpp[0], mpp / self.mpp[1])  # level-0 px per view px
        left, top = (center[axis] - size_px * step[axis] / 2 for axis in (0, 1))
        level = self._finer_level(step)
        scale = self._scales[level]
        begin = (left / scale[0], top / scale[1])  # level px
        end = (begin[0] + size_px * step[0] / scale[0], begin[1] + size_px * step[1] / scale[1])
        first = (int(np.floor(begin[0])), int(np.floor(begin[1])))
        last = (int(np.ceil(end[0])), int(np.ceil(end[1])))
        rgb, origin = self._region(level, first, last)
        height, width = rgb.shape[:2]
        box = (
            min(max(begin[0] - origin[0], 0.0), width),
            min(max(begin[1] - origin[1], 0.0), height),
            min(end[0] - origin[0], width),
            min(end[1] - origin[1], height),
        )
        image = np.asarray(Image.fromarray(rgb).resize((size_px, size_px), Image.Resampling.HAMMING, box=box))
        return image, self._inside(left, top, step, size_px)

    def _inside(self, left: float, top: float, step: tuple[float, float], size_px: int) -> np.ndarray:
        x = left + (np.arange(size_px) + 0.5) * step[0]
        y = top + (np.arange(size_px) + 0.5) * step[1]
        return ((y >= 0) & (y < self.size[1]))[:, None] & ((x >= 0) & (x < self.size[0]))[None, :]

    def _finer_level(self, step: tuple[float, float]) -> int:
        fits = [
            i for i, scale in enumerate(self._scales) if scale[0] <= step[0] * 1.001 and scale[1] <= step[1] * 1.001
        ]
        return max(fits, key=lambda i: self._scales[i][0], default=0)

    def _region(
        self, level: int, first: tuple[int, int], last: tuple[int, int]
    ) -> tuple[np.ndarray, tuple[float, float]]:
        """Level pixels [first, last), RGB, and where the array really begins, in level px.

        Transparent and out-of-bounds pixels are glass. OpenSlide takes integer level-0 coordinates and divides them by
        one downsample for both axes, so what it returns begins up to half a level-0 px beside what was asked for.
        """
        width, height = self._slide.level_dimensions[level]
        downsample = self._slide.level_downsamples[level]
        x0, y0 = max(0, first[0]), max(0, first[1])
        x1, y1 = min(width, last[0]), min(height, last[1])
        out = np.empty((last[1] - first[1], last[0] - first[0], 3), np.uint8)
        out[:] = self.glass
        location = (round(x0 * downsample), round(y0 * downsample))
        if x1 > x0 and y1 > y0:
            rgba = np.asarray(self._slide.read_region(location, level, (x1 - x0, y1 - y0)))
            rgb = rgba[..., :3]
            if not rgba[..., 3].all():
                rgb = np.where(rgba[..., 3:] == 0, np.array(self.glass, np.uint8), rgb)
            out[y0 - first[1] : y1 - first[1], x0 - first[0] : x1 - first[0]] = rgb
        beside = (location[0] / downsample - x0, location[1] / downsample - y0)
        return out, (first[0] + beside[0], first[1] + beside[1])

    @property
    def glass(self) -> tuple[int, int, int]:
        """The slide's background colour: the median of its brightest, least saturated thumbnail pixels."""
        if self._glass is None:
            rgb = self.thumbnail(512)
            level = rgb.min(axis=2)
            bright = rgb[level >= np.quantile(level, 0.95)]
            colour = np.median(bright.reshape(-1, 3), axis=0).astype(int)
            self._glass = (int(colour[0]), int(colour[1]), int(colour[2]))
        return self._glass

    def thumbnail(self, longest_px: int) -> np.ndarray:
        """The whole slide, uint8 RGB, its longer side at most `longest_px`."""
        level = len(self._scales) - 1
        while level > 0 and max(self._slide.level_dimensions[level]) < longest_px:
            level -= 1
        rgba = np.asarray(self._slide.read_region((0, 0), level, self._slide.level_dimensions[level]))
        rgb = np.where(rgba[..., 3:] == 0, 255, rgba[..., :3]).astype(np.uint8)
        factor = min(1.0, longest_px / max(rgb.shape[:2]))
        size = (max(1, round(rgb.shape[1] * factor)), max(1, round(rgb.shape[0] * factor)))
        return cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
