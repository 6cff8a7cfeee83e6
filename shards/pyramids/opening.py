"""Which backend opens a slide file."""

from pathlib import Path

from mlseg_core.errors import UserError
from shards.pyramids.openslide_pyramid import OpenSlidePyramid, refusal
from shards.pyramids.pyramid import Pyramid, is_tiff
from shards.pyramids.tiff import TiffPyramid
from shards.pyramids.tiles import same_by_tiles


def open_pyramid(path: Path, cache_bytes: int) -> Pyramid:
    """Open a slide file, or a folder of DICOM files. cache_bytes: for decoded tiles. Raises UserError."""
    file = first_dicom(path) if path.is_dir() else path
    why = refusal(file)
    if why is None:
        slide = OpenSlidePyramid(file, cache_bytes)
        tiles = same_by_tiles(slide, file, cache_bytes)
        if tiles is None:
            return slide
        slide.close()
        return tiles
    if is_tiff(file):
        return TiffPyramid(file, cache_bytes)
    raise UserError(f"the slide cannot be opened ({why})", path, "Restore the file or drop its row.")


def first_dicom(folder: Path) -> Path:
    """One file of a folder that holds a DICOM slide; OpenSlide finds the others. Raises UserError."""
    files = sorted(folder.glob("*.dcm"))
    if not files:
        raise UserError("the folder holds no .dcm files", folder, "Name a slide file, or a folder of one DICOM slide.")
    return files[0]
