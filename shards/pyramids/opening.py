"""Which backend opens a slide file: what the file says it is decides, not which library would open it.

TIFFs of plain tiles are decoded without OpenSlide. The decoders are the same (libjpeg-turbo, OpenJPEG), so are the pixels, but
OpenSlide paints every tile once more, which takes 2 to 5 times as long as decoding it. Some windows of each slide are read both
ways, and OpenSlide stays where they differ.
"""

from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from shards.pyramids.ome import is_ome
from shards.pyramids.openslide_pyramid import GENERIC_TIFF, OpenSlidePyramid, refusal
from shards.pyramids.pyramid import Pyramid, Unreadable, is_tiff
from shards.pyramids.series import colour_fault, is_palette, open_tiff
from shards.pyramids.tiff import TiffPyramid


def open_pyramid(path: Path, cache_bytes: int) -> Pyramid:
    """Open a slide file, or a folder of DICOM files. cache_bytes: for decoded tiles. Raises UserError."""
    file = first_dicom(path) if path.is_dir() else path
    if is_ome(file):  # OpenSlide would take it for a TIFF of no maker: without axes, scale and small levels
        return TiffPyramid(file, cache_bytes)
    why = refusal(file)
    if why is not None:
        try:
            if is_tiff(file):
                return TiffPyramid(file, cache_bytes)
        except OSError as error:
            why = error.strerror or str(error)
        raise UserError(f"the slide cannot be opened ({why})", path, "Restore the file or drop its row.")
    slide = OpenSlidePyramid(file, cache_bytes)
    if slide.properties.get("openslide.vendor") == GENERIC_TIFF and _wants_tifffile(file):
        slide.close()
        return TiffPyramid(file, cache_bytes)
    tiles = same_by_tiles(slide, file, cache_bytes)
    if tiles is None:
        return slide
    slide.close()
    return tiles


def _wants_tifffile(file: Path) -> bool:
    """Whether OpenSlide would show the first page of a TIFF that is more, or other, than one picture of 8-bit colours.

    TiffPyramid reads it then, or refuses it in words.
    """
    try:
        with open_tiff(file) as tiff:
            series = tiff.series[0]
            return not is_palette(series) and (colour_fault(series, converts=True) is not None or len(series.pages) > 1)
    except Exception:  # only OpenSlide can read it
        return False


def first_dicom(folder: Path) -> Path:
    """One file of a folder that holds a DICOM slide; OpenSlide finds the others. Raises UserError."""
    files = sorted(folder.glob("*.dcm"))
    if not files:
        raise UserError("the folder holds no .dcm files", folder, "Name a slide file, or a folder of one DICOM slide.")
    return files[0]


_VENDORS = ("aperio", "generic-tiff")
_WINDOW = 64  # px
_PLACES = (0.25, 0.5, 0.75)


def same_by_tiles(slide: OpenSlidePyramid, path: Path, cache_bytes: int) -> TiffPyramid | None:
    """The slide decoded tile by tile; None when that cannot be done, or gives other pixels than OpenSlide.

    Small levels that lie in SubIFDs, where OpenSlide does not look, are part of it.
    """
    if slide.properties.get("openslide.vendor") not in _VENDORS:
        return None
    try:
        tiles = TiffPyramid(path, cache_bytes)
    except UserError:
        return None
    same_sizes = tiles.sizes == slide.sizes or (len(slide.sizes) == 1 and tiles.sizes[:1] == slide.sizes)
    if not same_sizes or not tiles.is_complete or not same_pixels(slide, tiles):
        tiles.close()
        return None
    tiles.mpp, tiles.properties = slide.mpp, slide.properties
    return tiles


def same_pixels(slide: OpenSlidePyramid, tiles: Pyramid) -> bool:
    """Compares windows on level 0's diagonals and at the corner of each level, where OpenSlide does not round positions."""
    places = [(level, (0, 0)) for level in range(len(slide.sizes))]
    width, height = slide.sizes[0]
    places += [(0, (int(width * x), int(height * y))) for x in _PLACES for y in _PLACES]
    for level, first in places:
        size = tuple(min(_WINDOW, length - start) for length, start in zip(slide.sizes[level], first, strict=True))
        try:
            by_slide, by_tiles = (pyramid.read(level, first, (size[0], size[1])) for pyramid in (slide, tiles))
        except Unreadable:
            return False
        if by_slide.covered is not None or not np.array_equal(by_slide.rgb, by_tiles.rgb):
            return False
    return True
