"""Slides that are TIFFs of plain tiles: OpenSlide says what they are, their tiles are decoded without it.

The decoders are the same (libjpeg-turbo, OpenJPEG), so are the pixels, but OpenSlide paints every tile once more, which
takes 2 to 5 times as long as decoding it. Equality is not believed but tried on some windows of each slide.
"""

from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from shards.pyramids.openslide_pyramid import OpenSlidePyramid
from shards.pyramids.pyramid import Pyramid, Unreadable
from shards.pyramids.tiff import TiffPyramid

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
