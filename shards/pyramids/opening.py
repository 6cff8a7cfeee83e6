"""Which backend opens a slide file: what the file says it is decides, not which library would open it."""

from pathlib import Path

from mlseg_core.errors import UserError
from shards.pyramids.ome import is_ome
from shards.pyramids.openslide_pyramid import GENERIC_TIFF, OpenSlidePyramid, refusal
from shards.pyramids.pyramid import Pyramid, is_tiff
from shards.pyramids.series import colour_fault, is_palette, open_tiff
from shards.pyramids.tiff import TiffPyramid
from shards.pyramids.tiles import same_by_tiles


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
