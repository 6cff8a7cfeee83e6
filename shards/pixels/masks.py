"""Masks: one whole number a pixel. A palette counts by its entries, not its colours; black and white is 0 and 1.

A TIFF is read tile by tile; a PNG or BMP, which cannot be, is held whole and bounded in size.
"""

from pathlib import Path
from typing import Protocol

import numpy as np

from mlseg_core.errors import UserError
from shards.pixels.files import (
    UPRIGHT,
    Header,
    alpha_of_tiff,
    check_whole,
    header,
    is_jpeg,
    opened,
    palette_numbers,
    refuse_turned,
)
from shards.pyramids.colours import LOSSLESS
from shards.pyramids.pyramid import Unreadable, is_tiff
from shards.pyramids.series import colour_fault, open_tiff, slide_series
from shards.pyramids.tiff import TiffPyramid
from shards.regular_files import refuse_irregular

VALUES = 1 << 16
"""Class numbers are below this."""
_FORMATS = ("PNG", "BMP")
_MODES = {"1", "L", "P", "I;16", "I;16B", "I"}
_COLOURS = {"RGB", "RGBA", "LA"}
_MOST_PX = 150_000_000  # of a mask that is held whole
_STRETCHED = {2: 85, 4: 17}  # bits of grey: Pillow multiplies them to fill 8 bits
_EXPORT = "Export one channel of class numbers, as an 8-bit or 16-bit PNG or TIFF."


class MaskPixels(Protocol):
    """Values of an open mask. size: (width, height) px; band: rows that are best read together."""

    size: tuple[int, int]
    band: int

    def read(self, first: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        """Values [first, first + size), uint8 or uint16 (height, width). Raises UserError."""
        ...


def open_mask(path: Path, equal_channels: bool = False) -> MaskPixels:
    """Open a mask. equal_channels: also colours of which red, green and blue are one number. Raises UserError."""
    refuse_irregular(path, "mask")
    if is_tiff(path):
        pixels: MaskPixels = _GreyTiff(path) if equal_channels and _is_rgb_tiff(path) else _Tiff(path)
    else:
        pixels = _Whole(path, equal_channels)
    if min(*pixels.size, pixels.band) < 1:
        raise UserError("the mask has no pixels", path, "Export it again.")
    return pixels


def read_mask(path: Path) -> np.ndarray:
    """All values, uint8 or uint16 (height, width); of grey saved as RGB too.

    Raises UserError, for a TIFF that leaves out some of its tiles too: nobody can tell whether 0 was meant.
    """
    pixels = open_mask(path, equal_channels=True)
    if isinstance(pixels, _Tiff):
        pixels.refuse_left_out()
    return pixels.read((0, 0), pixels.size)


def mask_size(path: Path) -> tuple[int, int]:
    """(width, height) px of what can be a mask, by its header. Raises UserError."""
    refuse_irregular(path, "mask")
    if is_tiff(path):
        return open_mask(path, equal_channels=True).size
    return _header(path, equal_channels=True).size


def mask_was_misread(path: Path) -> str | None:
    """What commit 37b9573 imported from other numbers than a mask's own, in words; None for plain 8-bit numbers."""
    try:
        if is_tiff(path):
            with open_tiff(path) as file:
                page = file.pages.first
                plain = page.bitspersample == 8 and page.photometric != 3
                return (
                    None
                    if plain
                    else f"{page.bitspersample}-bit numbers{' of colours' if page.photometric == 3 else ''}"
                )
        found = _header(path, equal_channels=True)
    except Exception:  # a mask that cannot be read says so when it is
        return None
    if found.mode == "P":
        return "numbers of colours"
    bits = 1 if found.mode == "1" else found.bits
    plain = found.mode in _COLOURS or (found.mode == "L" and bits == 8)
    return None if plain else f"{bits}-bit numbers"


class _Whole:
    def __init__(self, path: Path, equal_channels: bool) -> None:
        found = _header(path, equal_channels)
        self.size, self.band = found.size, 4096
        if found.size[0] * found.size[1] > _MOST_PX:
            what = f"a {found.format} of {found.size[0]} × {found.size[1]} px"
            raise UserError(what, path, "Save the mask as a tiled TIFF.")
        check_whole(path, _FORMATS, "mask")
        with opened(path, _FORMATS, "mask") as image:
            values = np.asarray(image) if image.mode == found.mode else palette_numbers(path)
        if found.mode in _COLOURS:
            values = _one_of_equals(values, found, path)
        elif found.mode == "L":
            values = values // np.uint8(_STRETCHED.get(found.bits, 1))
        self._values = _checked(values, path)

    def read(self, first: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        return self._values[first[1] : first[1] + size[1], first[0] : first[0] + size[0]]


class _Tiff:
    channels = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._file = TiffPyramid(path, channels=self.channels)
        except UserError:
            raise
        except Exception as error:  # decoders raise many kinds
            raise UserError(f"the mask cannot be read ({error})", path, "Export it again.") from None
        self.size = self._file.sizes[0]
        self.band = self._file.tile_height

    def read(self, first: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        return _checked(self._stored(first, size), self._path)

    def refuse_left_out(self) -> None:
        """Raises UserError for a mask of which some tiles or strips lie nowhere in the file."""
        if self._file.leaves_out(0):
            raise UserError("the mask leaves out some of its pixels", self._path, "Export it again, with all tiles.")

    def _stored(self, first: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        try:
            return self._file.pixels(0, first, size)
        except Unreadable as error:
            raise UserError(f"the mask is damaged ({error})", self._path, "Restore the file.") from None


class _GreyTiff(_Tiff):
    """Grey that was saved as colours."""

    channels = 3

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        alpha = alpha_of_tiff(path, "mask")
        if alpha is not None and alpha.min() < 255:
            raise UserError("the mask is a picture with transparent pixels (RGBA)", path, _EXPORT)

    def read(self, first: tuple[int, int], size: tuple[int, int]) -> np.ndarray:
        return _equal_channel(self._stored(first, size), "RGB", self._path)


def _is_rgb_tiff(path: Path) -> bool:
    """Whether a TIFF is an upright picture of 8-bit RGB whose numbers no compression changed."""
    try:
        with open_tiff(path) as file:
            series = slide_series(file, path)
            page = series.keyframe
            return (
                colour_fault(series) is None
                and page.photometric in (1, 2)
                and page.compression in LOSSLESS
                and page.tags.valueof("Orientation", 1) in UPRIGHT
            )
    except Exception:  # _Tiff says why
        return False


def _header(path: Path, equal_channels: bool) -> Header:
    """Raises UserError for what cannot be a mask."""
    if is_jpeg(path):
        raise UserError("the mask is a JPEG, whose numbers are not the ones that were drawn", path, _EXPORT)
    found = header(path, _FORMATS, "mask")
    may_be_grey = equal_channels and found.mode in _COLOURS and found.bits == 8
    if found.mode not in _MODES and not may_be_grey:
        depth = f"{found.mode}, {found.bits} bits a channel" if found.mode in _COLOURS else found.mode
        raise UserError(f"the mask is a picture ({depth}), not one whole number a pixel", path, _EXPORT)
    if found.frames > 1:
        raise UserError(f"the mask holds {found.frames} pictures", path, _EXPORT)
    refuse_turned(found.orientation, path, "mask")
    return found


def _one_of_equals(values: np.ndarray, found: Header, path: Path) -> np.ndarray:
    """One channel of grey that was saved as colours, (height, width)."""
    colours, alpha = (values[..., :3], values[..., 3:]) if found.mode != "LA" else (values[..., :1], values[..., 1:])
    if alpha.size and alpha.min() < 255:
        raise UserError(f"the mask is a picture with transparent pixels ({found.mode})", path, _EXPORT)
    return _equal_channel(colours, found.mode, path)


def _equal_channel(colours: np.ndarray, mode: str, path: Path) -> np.ndarray:
    if (colours != colours[..., :1]).any():
        what = f"the mask is a picture ({mode}) in colours, not one whole number a pixel"
        raise UserError(what, path, _EXPORT)
    return np.ascontiguousarray(colours[..., 0])


def _checked(values: np.ndarray, path: Path) -> np.ndarray:
    may_be_outside = values.dtype.kind == "i" or values.dtype.itemsize > 2
    if may_be_outside and values.size and (values.min() < 0 or values.max() >= VALUES):
        what = f"the mask holds values outside 0 to {VALUES - 1} ({values.min()} to {values.max()})"
        raise UserError(what, path, "Number the classes from 0.")
    return values if values.dtype in (np.uint8, np.uint16) else values.astype(np.uint16)  # bool would index as a mask
