"""Which slides are read otherwise than they were before files were opened by what they say they are (commit 37b9573)."""

from pathlib import Path

from mlseg_core.errors import UserError
from shards.pyramids.ome import is_ome
from shards.pyramids.opening import open_pyramid, same_pixels
from shards.pyramids.openslide_pyramid import GENERIC_TIFF, OpenSlidePyramid, refusal
from shards.pyramids.pyramid import Pyramid, is_tiff
from shards.pyramids.tiff import TiffPyramid

_CACHE_BYTES = 16 << 20
_SAME_MPP = 1e-3


def read_differently(path: Path, mpp_given: float | None = None) -> str | None:
    """What is read differently of a slide today, in words; None when its shards would come out as before.

    mpp_given: µm/px of the slide table; then the file's own did not count. Reads little of the slide.
    """
    if path.is_dir() or not is_tiff(path):
        return None
    before = _before(path)
    if before is None and not is_ome(path):
        return None
    try:
        now = open_pyramid(path, _CACHE_BYTES)
    except UserError as error:
        if before is not None:
            before.close()
        return None if before is None else f"it is refused now: {error.what}"
    try:
        if isinstance(now, TiffPyramid) and now.series > 0:
            return "another of the file's images is the slide"
        return None if before is None else _difference(before, now, mpp_given)
    finally:
        now.close()
        if before is not None:
            before.close()


def _before(path: Path) -> OpenSlidePyramid | None:
    """As OpenSlide opens a TIFF of no known maker; None for all others, which are opened as ever."""
    if refusal(path) is not None:
        return None
    slide = OpenSlidePyramid(path, _CACHE_BYTES)
    if slide.properties.get("openslide.vendor") == GENERIC_TIFF:
        return slide
    slide.close()
    return None


def _difference(before: OpenSlidePyramid, now: Pyramid, mpp_given: float | None) -> str | None:
    if now.sizes[:1] != before.sizes[:1]:
        return "another of the file's images is the slide"
    if len(now.sizes) != len(before.sizes):
        return "its small levels are used"
    if not same_pixels(before, now):
        return "its colours are read as the file describes them"
    old = before.properties.get("openslide.mpp-x"), before.properties.get("openslide.mpp-y")
    if mpp_given is not None or None in old:
        return None
    if now.mpp is None:
        return "its resolution is a printer's, no µm/px"
    pairs = zip(map(float, filter(None, old)), now.mpp, strict=True)
    return "its µm/px is the one of the OME-XML" if any(abs(a / b - 1) > _SAME_MPP for a, b in pairs) else None
