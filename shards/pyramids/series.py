"""Which image of a TIFF is the slide, and where the pixels of its levels lie. What is not 8-bit RGB is refused in words."""

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tifffile

from mlseg_core.errors import UserError
from shards.pyramids.colours import LOSSLESS, ToRgb, has_alpha, is_subsampled
from shards.pyramids.directories import check_directories
from shards.pyramids.ome import OmeImage, has_ome_xml, ome_images

_BESIDE = re.compile(r"(?<![a-z])(label|macro|thumbnail|overview|barcode)(?![a-z])", re.IGNORECASE)
_STACKS = {"Z": "z layers", "T": "time points"}
_COLOUR_SPACES = {
    0: "MinIsWhite",
    5: "CMYK",
    8: "CIE L*a*b*",
    9: "ICC L*a*b*",
    10: "ITU L*a*b*",
    32803: "a colour filter array",
    32844: "LogL",
    32845: "LogLuv",
}
_SINGLE = {
    0: "in grey, white is 0",
    1: "in grey",
    3: "with a palette of other than 8 bits",
    4: "of a transparency mask",
}
_RGB, _PALETTE, _YCBCR = 2, 3, 6
_LOSSY = {6, 7, 34892}  # kinds of JPEG
_EXPORT_RGB = "Export it as an 8-bit RGB image."
TURN = "Turn its pixels and remove the tag, and draw annotations on the result: tools do not agree which way such a slide is up."

AnyPage = tifffile.TiffPage | tifffile.TiffFrame


@dataclass(frozen=True)
class Level:
    """Pixels of one level. page: describes all of them.

    planes: the page and the number of its first segment (tile or strip), of the one plane of whole pixels, or of the
    planes of red, green and blue (and alpha).  colours: what makes RGB of the samples; None: numbers, not colours.
    """

    page: tifffile.TiffPage
    planes: tuple[tuple[AnyPage, int], ...]
    colours: ToRgb | None = None


def open_tiff(path: Path) -> tifffile.TiffFile:
    """A TIFF, whose companions in other files are left alone. Raises UserError for a circle, and what tifffile raises."""
    check_directories(path)
    file = tifffile.TiffFile(path, _multifile=False)
    if not file.is_ome and has_ome_xml(file):  # with something behind the XML
        file.close()
        file = tifffile.TiffFile(path, _multifile=False, is_ome=True)
    return file


def slide_series(file: tifffile.TiffFile, path: Path) -> tifffile.TiffPageSeries:
    """The image that is the slide: of an OME-TIFF the largest, without label, macro and thumbnail. Raises UserError."""
    if not file.is_ome:
        return file.series[0]
    if file.series[0].kind != "ome":
        what = "its OME-XML cannot be read, does not fit its pixels, or names other files that hold them"
        raise UserError(what, path, "Export the slide again, as one file.")
    slides = [series for series in file.series if not _BESIDE.search(series.name or "")]
    if not slides:
        names = ", ".join(repr(series.name) for series in file.series)
        raise UserError(f"the file holds no slide, only {names}", path, "Export the slide itself.")
    most = max(map(_area, slides))
    largest = [series for series in slides if _area(series) == most]
    colour = [series for series in largest if colour_fault(series) is None] or largest
    if len(colour) > 1:
        names = ", ".join(repr(series.name) for series in colour)
        raise UserError(f"the file holds {len(colour)} equally large images: {names}", path, "Export one file a slide.")
    return colour[0]


def series_images(file: tifffile.TiffFile, series: tifffile.TiffPageSeries) -> list[OmeImage]:
    """What the OME-XML says of a series: its entry; those of its size where names do not tell them apart."""
    if not file.is_ome:
        return []
    size = (series.keyframe.imagewidth, series.keyframe.imagelength)
    fits = [image for image in ome_images(file) if image.size == size]
    return [image for image in fits if image.name == (series.name or "")] or fits


def colour_fault(series: tifffile.TiffPageSeries, converts: bool = False) -> str | None:
    """Why a series is not one picture of 8-bit RGB; None when it is. converts: the reader makes RGB of YCbCr, as libtiff does."""
    page, (channels, samples, stack) = series.keyframe, _counts(series)
    if stack:
        return f"the TIFF holds {stack}, not one picture"
    space = _COLOUR_SPACES.get(page.photometric)
    if space is not None and channels * samples > 1:
        return f"the TIFF's colours are {space}, not RGB"
    if channels * samples == 1:
        kind = _SINGLE.get(page.photometric, "in one channel")
        return f"the TIFF is a picture {kind} (1 channel of {page.dtype}), not RGB"
    alpha = samples == 4 and page.photometric in (_RGB, _YCBCR)
    if channels * samples != 3 and not (channels == 1 and alpha):
        return f"the TIFF has {channels * samples} channels of {page.dtype}, not RGB"
    if page.dtype != np.uint8 or page.bitspersample != 8:
        return f"the TIFF holds {page.dtype}, not 8-bit pixels"
    if not converts and page.photometric == _YCBCR and page.compression in LOSSLESS:
        return "the TIFF's colours are YCbCr without JPEG, not RGB"
    if channels == 3 and series.kind not in ("ome", "shaped"):
        return "the TIFF holds 3 channels as separate pictures, whose colours it does not say"
    return None


def orientation_fault(orientation: int) -> str | None:
    """Why a slide with this Orientation tag is not read; None for one that is shown as it is stored. Some programs write 0."""
    if orientation in (0, 1):
        return None
    return f"it says that it is to be shown turned or mirrored (TIFF orientation {orientation})"


def is_palette(series: tifffile.TiffPageSeries) -> bool:
    """Whether the series is one picture of 8-bit numbers of colours."""
    channels, samples, stack = _counts(series)
    page = series.keyframe
    return not stack and channels * samples == 1 and page.photometric == _PALETTE and page.bitspersample == 8


def colour_levels(series: tifffile.TiffPageSeries, images: list[OmeImage], path: Path) -> list[Level]:
    """Where red, green and blue of each level lie. images: see series_images. Raises UserError."""
    fault = None if is_palette(series) else colour_fault(series, converts=True)
    channels, samples, _ = _counts(series)
    if fault is None and is_subsampled(series.keyframe):
        fault = "the TIFF's colours are YCbCr, subsampled and without JPEG, not RGB"
    if fault is None and channels == 3 and any(image.is_fluorescence for image in images):
        fault = "its channels are fluorescence, not red, green and blue"
    if fault is not None:
        raise UserError(fault, path, _EXPORT_RGB)
    turned = orientation_fault(int(series.keyframe.tags.valueof("Orientation", 1)))
    if turned is not None:
        raise UserError(turned, path, TURN)
    order = images[0].order if images and channels == 3 else (0, 1, 2)
    levels = [_level(level, channels, samples, order, path) for level in series.levels]
    return [replace(level, colours=ToRgb.of(level.page)) for level in levels]


def mask_levels(series: tifffile.TiffPageSeries, path: Path, lossy: bool = False) -> list[Level]:
    """Where the numbers of a mask lie; of level 0 only. lossy: JPEG is allowed. Raises UserError."""
    page, (channels, samples, stack) = series.keyframe, _counts(series)
    if stack:
        raise UserError(f"the mask holds {stack}, not one picture", path, "Export one picture of class numbers.")
    if channels * samples != 1:
        what = f"the mask is a picture of {channels * samples} channels, not one whole number a pixel"
        raise UserError(what, path, "Export one channel of class numbers.")
    if page.photometric == 0:
        what = "the mask is stored inverted (MinIsWhite), so its numbers are not certain"
        raise UserError(what, path, "Export it as MinIsBlack or as PNG.")
    if page.dtype is not None and page.dtype.kind not in "uib":
        raise UserError(
            f"the mask holds {page.dtype}, not whole numbers", path, "Export 8-bit or 16-bit class numbers."
        )
    if page.compression in _LOSSY and not lossy:
        what = "the mask is compressed as JPEG, so its numbers are not the ones that were drawn"
        raise UserError(what, path, "Export it without JPEG.")
    orientation = page.tags.valueof("Orientation", 1)
    if orientation not in (0, 1):
        what = f"the mask says that it is to be shown turned (TIFF orientation {orientation})"
        raise UserError(what, path, "Turn its pixels and remove the tag, so that slide and mask agree.")
    return [_level(series.levels[0], 1, 1, (0, 1, 2), path)]


def _level(
    level: tifffile.TiffPageSeries, channels: int, samples: int, order: tuple[int, int, int], path: Path
) -> Level:
    pages = [page for page in level.pages if page is not None and page.dataoffsets]
    if len(pages) != channels or len(level.pages) != channels:
        raise UserError("the TIFF lacks some of its planes", path, "Export it again.")
    if channels == 3:
        return Level(level.keyframe, tuple((pages[number], 0) for number in order))
    if level.keyframe.planarconfig == 2 and samples > 1:
        plane = len(pages[0].dataoffsets) // samples
        count = 4 if samples == 4 and has_alpha(level.keyframe) else 3
        return Level(level.keyframe, tuple((pages[0], plane * number) for number in range(count)))
    return Level(level.keyframe, ((pages[0], 0),))


def _counts(series: tifffile.TiffPageSeries) -> tuple[int, int, str]:
    """Channels in pages of their own, samples a pixel, and what else is more than one, in words."""
    lengths = [(axis, length) for axis, length in zip(series.axes, series.shape, strict=True) if length > 1]
    stacks = [f"{length} {_STACKS.get(axis, 'pictures of one size')}" for axis, length in lengths if axis not in "YXCS"]
    channels, samples = (math.prod(length for axis, length in lengths if axis == wanted) for wanted in "CS")
    return channels, samples, " and ".join(stacks)


def _area(series: tifffile.TiffPageSeries) -> int:
    return series.keyframe.imagewidth * series.keyframe.imagelength
