"""Pictures of the real slides in a folder."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from openslide import OpenSlide, OpenSlideError


def real_slides(folder: Path) -> Iterator[tuple[str, np.ndarray, float]]:
    """Name, level 0 (at most 6,000 px a side), µm/px; a file that does not say its µm/px is left out."""
    for path in sorted(folder.rglob("*.svs")) + sorted(folder.rglob("*.tif")):
        found = _with_openslide(path) or _with_tifffile(path)
        if found is not None:
            yield path.name, *found


def _with_openslide(path: Path) -> tuple[np.ndarray, float] | None:
    try:
        with OpenSlide(path) as slide:
            mpp = float(slide.properties["openslide.mpp-x"])
            width, height = (min(6000, length) for length in slide.dimensions)
            return np.array(slide.read_region((0, 0), 0, (width, height)).convert("RGB")), mpp
    except (OpenSlideError, KeyError):
        return None


def _with_tifffile(path: Path) -> tuple[np.ndarray, float] | None:
    try:
        with tifffile.TiffFile(path) as tiff:
            found = tiff.ome_metadata
            image = tiff.asarray()
        if not found or "PhysicalSizeX=" not in found:
            return None
        mpp = float(found.split('PhysicalSizeX="')[1].split('"')[0])
    except (OSError, ValueError, tifffile.TiffFileError):
        return None
    image = image if image.shape[-1] == 3 else np.moveaxis(image, 0, -1)
    return np.ascontiguousarray(image[..., :3]), mpp
