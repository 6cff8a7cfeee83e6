"""Slides decoded tile by tile show what OpenSlide shows, to the last bit; where they would not, OpenSlide reads them."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from shards.pyramids import open_pyramid
from shards.pyramids.opening import same_by_tiles
from shards.pyramids.openslide_pyramid import OpenSlidePyramid
from shards.pyramids.tiff import TiffPyramid
from tests.shards.slides_for_tests import tissue_slide

REAL = Path(__file__).parents[2] / "../shared/realdata/wsi"
CACHE = 1 << 26
KINDS = {
    "jpeg 4:2:0": {"photometric": "rgb", "compression": "jpeg", "subsampling": (2, 2)},
    "jpeg 4:4:4": {"photometric": "rgb", "compression": "jpeg", "subsampling": (1, 1)},
    "deflate": {"photometric": "rgb", "compression": "deflate"},
}


def write(path, image, **options):
    with tifffile.TiffWriter(path) as tiff:
        for level in range(2):
            small = image[:: 1 << level, :: 1 << level]
            tiff.write(small, tile=(256, 256), subfiletype=level, metadata=None, resolution=(1e4, 1e4), **options)


def check_same(path, level):
    slide, tiles = OpenSlidePyramid(path, CACHE), open_pyramid(path, CACHE)
    assert isinstance(tiles, TiffPyramid)
    assert (tiles.sizes, tiles.mpp, tiles.properties) == (slide.sizes, slide.mpp, slide.properties)
    by_slide, by_tiles = (pyramid.read(level, (0, 0), slide.sizes[level]) for pyramid in (slide, tiles))
    assert by_slide.covered is None and by_tiles.covered is None
    assert np.array_equal(by_slide.rgb, by_tiles.rgb)


@pytest.mark.parametrize("level", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_same_pixels(tmp_path, kind, level):
    write(tmp_path / "s.tif", tissue_slide(3), **KINDS[kind])
    check_same(tmp_path / "s.tif", level)


@pytest.mark.skipif(not REAL.is_dir(), reason="the real slides are not there: ../shared/realdata/wsi")
@pytest.mark.parametrize("name", ["cmu-1-small-region.svs", "tcga-cr-7395-01a-01-ts1.svs"])
def test_the_same_pixels_of_real_slides(name):
    check_same(REAL / name, 0)


def test_a_slide_that_leaves_tiles_out_is_left_to_openslide(tmp_path):
    path = tmp_path / "s.tif"
    write(path, tissue_slide(3), **KINDS["deflate"])
    with tifffile.TiffFile(path) as tiff:
        counts = tiff.pages[0].tags["TileByteCounts"]
        place, kind = counts.valueoffset, {3: "<u2", 4: "<u4"}[counts.dtype]
    data = bytearray(path.read_bytes())
    data[place : place + np.dtype(kind).itemsize] = bytes(np.dtype(kind).itemsize)
    path.write_bytes(data)
    assert isinstance(open_pyramid(path, CACHE), OpenSlidePyramid)


def test_other_pixels_are_noticed(tmp_path):
    """Two slides of one size, as if the tiles were decoded into other colours."""
    write(tmp_path / "a.tif", tissue_slide(3), **KINDS["deflate"])
    write(tmp_path / "b.tif", 255 - tissue_slide(3), **KINDS["deflate"])
    slide = OpenSlidePyramid(tmp_path / "a.tif", CACHE)
    assert same_by_tiles(slide, tmp_path / "a.tif", CACHE) is not None
    assert same_by_tiles(slide, tmp_path / "b.tif", CACHE) is None
