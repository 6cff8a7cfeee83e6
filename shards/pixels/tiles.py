"""Tiles: one picture in 8-bit RGB, as JPEG, PNG, BMP, WebP, JPEG 2000 or TIFF.

Grey and palettes are exact as colours; ICC profiles are not applied, as they are not for slides.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import tifffile

from mlseg_core.errors import UserError
from shards.pixels.files import Header, alpha_of_tiff, check_whole, header, is_jpeg, jpeg_colours, opened, refuse_turned
from shards.pyramids.colours import PALETTE, colour_map
from shards.pyramids.pyramid import Unreadable, is_tiff
from shards.pyramids.series import colour_fault, is_palette, open_tiff, slide_series
from shards.pyramids.tiff import TiffPyramid
from shards.regular_files import refuse_irregular
from shards.sample import decode_rgb

_FORMATS = ("JPEG", "PNG", "BMP", "WEBP", "JPEG2000")
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX"}
_MINISBLACK = 1
_EXPORT = "Export it as 8-bit RGB: PNG, TIFF or JPEG."


def read_tile(path: Path) -> np.ndarray:
    """uint8 (height, width, 3) RGB. Raises UserError."""
    refuse_irregular(path, "tile")
    if is_tiff(path):
        return _read_tiff(path)
    found = _header(path)
    check_whole(path, _FORMATS, "tile")
    with opened(path, _FORMATS, "tile") as image:
        image.load()  # Pillow notices pixels that end too early, which OpenCV swallows
        if found.alpha:
            _refuse_transparent(np.asarray(image.convert("RGBA"))[..., 3], path)
    return _decoded(path)


def tile_size(path: Path) -> tuple[int, int]:
    """(width, height) px of what can be a tile, by its header. Raises UserError."""
    refuse_irregular(path, "tile")
    if is_tiff(path):
        with _opened_tiff(path) as file:
            page = _picture(file, path).keyframe
            return page.imagewidth, page.imagelength
    return _header(path).size


def tile_was_misread(path: Path) -> str | None:
    """What commit 37b9573 imported with other colours than a tile's own, in words: TIFFs whose colours lie in planes."""
    try:
        if is_tiff(path):
            with open_tiff(path) as file:
                return "colours in planes" if _in_planes(file, _picture(file, path)) else None
    except Exception:  # a tile that cannot be read says so when it is
        return None
    return None


def _header(path: Path) -> Header:
    """Raises UserError for what is not one upright picture in 8-bit RGB."""
    found = header(path, _FORMATS, "tile")
    if found.bits > 8 or found.mode.startswith("I"):
        bits = max(found.bits, 16) if found.format != "JPEG2000" else found.bits
        raise UserError(f"the tile holds {bits}-bit numbers{_range(found, path)}, not 8-bit colours", path, _EXPORT)
    mode = found.mode
    if is_jpeg(path):
        mode = jpeg_colours(path, "tile")
        if mode in ("CMYK", "YCCK"):
            raise UserError(f"the tile's colours are {mode}, not RGB", path, _EXPORT)
    elif mode not in _MODES:
        raise UserError(f"the tile's colours are {mode}, not RGB", path, _EXPORT)
    if found.format == "JPEG2000" and mode not in ("RGB", "L"):
        raise UserError(f"the tile is a JPEG 2000 of {mode}, not RGB", path, _EXPORT)
    if found.frames > 1:
        raise UserError(f"the tile holds {found.frames} pictures", path, "Export one picture.")
    refuse_turned(found.orientation, path, "tile")
    return found


def _decoded(path: Path) -> np.ndarray:
    try:
        return decode_rgb(path.read_bytes())
    except Exception as error:  # OpenCV has kinds of its own
        raise UserError(f"the tile cannot be read ({error})", path, "Export it again.") from None


def _read_tiff(path: Path) -> np.ndarray:
    with _opened_tiff(path) as file:
        page = _picture(file, path).keyframe
        in_one_number = page.samplesperpixel == 1 and colour_fault(slide_series(file, path)) is not None
        table = colour_map(page) if page.photometric == PALETTE else None
    pyramid = TiffPyramid(path, channels=1 if in_one_number else 3, lossy=True)
    try:
        if pyramid.leaves_out(0):
            raise UserError("the tile leaves out some of its pixels", path, "Export it again, with all of them.")
        pixels = pyramid.pixels(0, (0, 0), pyramid.sizes[0])
    except Unreadable as error:
        raise UserError(f"the tile is damaged ({error})", path, "Copy it again.") from None
    finally:
        pyramid.close()
    alpha = alpha_of_tiff(path, "tile")
    if alpha is not None:
        _refuse_transparent(alpha, path)
    if not in_one_number:
        return pixels
    return np.dstack([pixels] * 3) if table is None else table[pixels]


@contextmanager
def _opened_tiff(path: Path) -> Iterator[tifffile.TiffFile]:
    """Raises UserError, for whatever goes wrong inside the block too."""
    try:
        with open_tiff(path) as file:
            yield file
    except UserError:
        raise
    except Exception as error:  # tifffile and its decoders raise many kinds
        raise UserError(f"the tile cannot be read ({error})", path, "Export it again.") from None


def _picture(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """The first image of a TIFF. Raises UserError when it is not one upright picture in 8-bit RGB or grey."""
    series = slide_series(file, path)
    page, fault = series.keyframe, colour_fault(series)
    one = page.samplesperpixel == 1 and series.ndim == 2
    grey = one and page.photometric == _MINISBLACK and page.bitspersample == 8 and page.dtype == np.uint8
    if fault is not None and not grey and not is_palette(series):
        if page.dtype is not None and page.dtype.itemsize > 1:
            values = series.asarray()
            fault = f"the tile holds {page.dtype} numbers from {values.min()} to {values.max()}, not 8-bit colours"
        raise UserError(fault.replace("the TIFF", "the tile"), path, _EXPORT)
    refuse_turned(int(page.tags.valueof("Orientation", 1)), path, "tile")
    return series


def _in_planes(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> bool:
    """Whether OpenCV would see one colour only, or another image."""
    page = series.keyframe
    planes = len(series.pages) > 1 or (page.planarconfig == 2 and page.samplesperpixel > 1)
    return colour_fault(series) is None and (file.is_ome or planes)


def _refuse_transparent(alpha: np.ndarray, path: Path) -> None:
    if alpha.min() < 255:
        raise UserError(
            "the tile has transparent pixels", path, "Export it without alpha: what lies behind is not known."
        )


def _range(found: Header, path: Path) -> str:
    """The smallest and the largest number in a 16-bit PNG. Raises UserError for a damaged one."""
    if found.format != "PNG":
        return ""
    check_whole(path, _FORMATS, "tile")  # OpenCV would write lines of its own
    values = cv2.imread(str(path), cv2.IMREAD_UNCHANGED | cv2.IMREAD_ANYDEPTH)
    return "" if values is None else f" from {values.min()} to {values.max()}"
