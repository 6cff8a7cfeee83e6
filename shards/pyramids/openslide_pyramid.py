"""Slides that OpenSlide opens."""

import ctypes
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import openslide

from mlseg_core.errors import UserError
from shards.pyramids.ome import is_print_resolution
from shards.pyramids.pyramid import LevelPixels, Unreadable

GENERIC_TIFF = "generic-tiff"
"""The vendor that OpenSlide gives to every tiled TIFF it does not know. It reads the first page as colours, whatever it is."""
_BY_TAGS = (GENERIC_TIFF, "trestle")


def refusal(path: Path) -> str | None:
    """Why OpenSlide cannot open the file; None when it can."""
    try:
        openslide.OpenSlide(str(path)).close()
    except (openslide.OpenSlideError, OSError, UnicodeError) as error:
        return str(error)
    return None


class OpenSlidePyramid:
    """A Pyramid (see there). A tile that cannot be decoded latches an error in the handle, so it is opened again then."""

    def __init__(self, path: Path, cache_bytes: int) -> None:
        self._path, self._cache_bytes = path, cache_bytes
        self._open()
        properties = dict(self._slide.properties)
        self.properties = properties
        self.sizes = list(self._slide.level_dimensions)
        self.mpp = _mpp(properties)
        self.tile_height = int(properties.get("openslide.level[0].tile-height", 256))
        self._downsamples = self._slide.level_downsamples

    def _open(self) -> None:
        try:
            self._slide = openslide.OpenSlide(str(self._path))
        except openslide.OpenSlideError as error:
            what = f"the slide cannot be opened ({error})"
            raise UserError(what, self._path, "Restore the file or drop its row.") from None
        self._slide.set_cache(openslide.OpenSlideCache(self._cache_bytes))

    def read(self, level: int, first: tuple[int, int], size: tuple[int, int]) -> LevelPixels:
        """OpenSlide takes whole level-0 coordinates and divides them by one downsample for both axes."""
        downsample = self._downsamples[level]
        location = (round(first[0] * downsample), round(first[1] * downsample))
        try:
            rgba = np.asarray(self._slide.read_region(location, level, size))
        except openslide.OpenSlideError as error:
            self._slide.close()
            try:
                self._open()
            except UserError as closed:
                raise Unreadable(f"level {level} at {first}: {error}; then {closed.what}") from None
            raise Unreadable(f"level {level} at {first}: {error}") from None
        covered = None if rgba[..., 3].all() else rgba[..., 3] > 0
        return LevelPixels(
            cv2.cvtColor(rgba, cv2.COLOR_RGBA2RGB), covered, (location[0] / downsample, location[1] / downsample)
        )

    def close(self) -> None:
        with suppress(ctypes.ArgumentError):  # closed by read(), which could not open it again
            self._slide.close()


def _mpp(properties: dict[str, str]) -> tuple[float, float] | None:
    try:
        mpp = float(properties["openslide.mpp-x"]), float(properties["openslide.mpp-y"])
    except (KeyError, ValueError):
        return None
    return None if properties.get("openslide.vendor") in _BY_TAGS and is_print_resolution(mpp) else mpp
