"""µm/px as a TIFF states it: in its OME-XML, in ImageJ's description, or in its resolution tags."""

from typing import Any

import tifffile

from shards.pyramids.ome import OmeImage, um_per

_RESOLUTION_UNIT_UM = {2: 25400.0, 3: 10000.0}  # TIFF ResolutionUnit: inch, centimetre
_PRINT_DPI = (72, 96, 150, 200, 300, 600, 1200)
_SAME = 1e-4


def is_print_resolution(mpp: tuple[float, float]) -> bool:
    """Whether one of the axes has a resolution that programs write for printers, which says nothing of the slide."""
    return any(abs(25400 / value / dpi - 1) < _SAME for value in mpp if value > 0 for dpi in _PRINT_DPI)


def stated_mpp(file: tifffile.TiffFile, page: tifffile.TiffPage, images: list[OmeImage]) -> tuple[float, float] | None:
    """Level-0 µm/px (x, y), or None. page: level 0; images: its entries in the OME-XML, if there are any.

    OME-XML that gives a size without a known unit, or of one axis only, is not completed from the tags.
    """
    if any(not image.is_silent for image in images):
        sizes = {image.mpp for image in images}
        return sizes.pop() if len(sizes) == 1 else None
    if file.is_imagej and not images:
        per_unit = um_per(_imagej_unit((file.imagej_metadata or {}).get("unit", "")))
        if per_unit is not None:
            return _tag_mpp(page, per_unit)
    mpp = _tag_mpp(page, _RESOLUTION_UNIT_UM.get(page.tags.valueof("ResolutionUnit", 1)))
    return None if mpp is None or is_print_resolution(mpp) else mpp


def _imagej_unit(unit: Any) -> str:
    return str(unit).replace("\\u00B5", "µ").replace("microns", "micron")


def _tag_mpp(page: tifffile.TiffPage, unit_um: float | None) -> tuple[float, float] | None:
    sizes = [page.tags.valueof(name, (0, 1)) for name in ("XResolution", "YResolution")]
    if unit_um is None or any(not count or not per for count, per in sizes):
        return None
    return unit_um * sizes[0][1] / sizes[0][0], unit_um * sizes[1][1] / sizes[1][0]
