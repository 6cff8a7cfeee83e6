"""Which backend opens a slide file: what the file says it is decides, not which library would open it.

TIFFs of plain tiles are decoded without OpenSlide. The decoders are the same (libjpeg-turbo, OpenJPEG), so are the pixels, but
OpenSlide paints every tile once more, which takes 2 to 5 times as long as decoding it. Some windows of each slide are read both
ways, and OpenSlide stays where they differ.
"""

from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from shards.pyramids.colours import has_alpha
from shards.pyramids.directories import check_directories, check_size, first_directory
from shards.pyramids.ome import is_ome
from shards.pyramids.openslide_pyramid import GENERIC_TIFF, OpenSlidePyramid, refusal
from shards.pyramids.pyramid import Pyramid, Unreadable, is_tiff
from shards.pyramids.series import TURN, colour_fault, is_palette, open_tiff, orientation_fault
from shards.pyramids.tiff import TiffPyramid
from shards.regular_files import irregular, refuse_irregular

_RESTORE = "Restore the file or drop its row."


def open_pyramid(path: Path, cache_bytes: int) -> Pyramid:
    """Open a slide file, or a folder of DICOM files. cache_bytes: for decoded tiles. Raises UserError."""
    file = first_dicom(path) if path.is_dir() else path
    _refuse_endless(file, path)
    _refuse_preview(file)
    pyramid = _opened(file, path, cache_bytes)
    try:
        for size in pyramid.sizes:
            check_size(size, path)
        if isinstance(pyramid, OpenSlidePyramid):
            _refuse_turned(pyramid, file)
    except UserError:
        pyramid.close()
        raise
    return pyramid


def _refuse_endless(file: Path, path: Path) -> None:
    """Raises UserError for what no library would ever come back from."""
    for part in (file, *_beside(file)):
        if not (part != file and part.is_dir()):
            refuse_irregular(part, "slide" if part == file else "part of a slide")
    try:
        check_directories(file)
    except OSError as error:
        raise UserError(f"the slide cannot be opened ({error.strerror or error})", path, _RESTORE) from None


def _beside(file: Path) -> list[Path]:
    """Files that OpenSlide opens too, to find out whether they belong to the slide."""
    suffix = file.suffix.lower()
    folder = file.with_suffix("") if suffix == ".mrxs" else file.parent
    if irregular(file) or not (suffix in (".mrxs", ".vms", ".vmu") or _is_dicom(file)) or not folder.is_dir():
        return []
    return sorted(folder.iterdir())


def _is_dicom(file: Path) -> bool:
    try:
        with open(file, "rb") as data:
            return data.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _refuse_preview(file: Path) -> None:
    """Raises UserError for Olympus' container: a TIFF, whose pictures are the label and a preview."""
    if file.suffix.lower() == ".vsi":
        what = (
            f"an Olympus .vsi holds a preview; the slide's pixels lie in folder _{file.stem}_, which mlseg cannot read"
        )
        raise UserError(what, file, "Export the slide as OME-TIFF (QuPath or Bio-Formats do that) and name that file.")


_OWN_ORIENTATION = ("hamamatsu",)
"""Vendors whose pixels OpenSlide decodes itself; of all other TIFFs libtiff mirrors each tile in its place."""


def _refuse_turned(slide: OpenSlidePyramid, file: Path) -> None:
    if slide.properties.get("openslide.vendor") in _OWN_ORIENTATION:
        return
    first = first_directory(file)
    fault = orientation_fault(first.orientation) if first is not None else None
    if fault is not None:
        raise UserError(fault, file, TURN)


def _opened(file: Path, path: Path, cache_bytes: int) -> Pyramid:
    if is_ome(file):  # OpenSlide would take it for a TIFF of no maker: without axes, scale and small levels
        return TiffPyramid(file, cache_bytes)
    why = refusal(file)
    if why is not None:
        try:
            if is_tiff(file):
                return TiffPyramid(file, cache_bytes)
        except OSError as error:
            why = error.strerror or str(error)
        raise UserError(f"the slide cannot be opened ({why})", path, _RESTORE)
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
            page = series.keyframe
            has_spare = page.samplesperpixel == 4 and not has_alpha(page)  # which libtiff takes for alpha
            other = colour_fault(series, converts=True) is not None or len(series.pages) > 1
            return has_spare or (other and not is_palette(series))
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
