"""TIFFs are read as they say they are: axes, series, small levels and colours, by whichever library does that."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from mlseg_core.errors import UserError
from shards.pyramids import open_pyramid, read_differently
from shards.pyramids.pyramid import Unreadable
from shards.pyramids.tiff import TiffPyramid
from shards.reader import SlideReader
from tests.shards.slides_for_tests import tissue_slide

CACHE = 16 << 20
REAL = Path(__file__).parents[2] / "../shared/realdata/wsi"
PICTURE = tissue_slide(4, 512)
SIZE = {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "µm", "PhysicalSizeY": 0.5, "PhysicalSizeYUnit": "µm"}
CM = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}  # 0.5 µm/px
TILES, STRIPS = {"tile": (128, 128)}, {"rowsperstrip": 100}
LAYOUTS = {
    "YXS": (PICTURE, {"photometric": "rgb"}),
    "CYX": (PICTURE.transpose(2, 0, 1), {"photometric": "minisblack"}),
    "SYX": (PICTURE.transpose(2, 0, 1), {"photometric": "rgb", "planarconfig": "separate"}),
}


def small(image, axes, factor):
    colours = image if axes == "YXS" else image.transpose(1, 2, 0)
    side = colours.shape[0] // factor
    resized = cv2.resize(np.ascontiguousarray(colours), (side, side), interpolation=cv2.INTER_AREA)
    return resized if axes == "YXS" else resized.transpose(2, 0, 1)


def write_ome(path, axes="YXS", levels=1, size=SIZE, image=None, **options):
    pixels, layout = LAYOUTS[axes]
    pixels = pixels if image is None else image
    options = {**layout, **TILES, **options}
    metadata = {"axes": "CYX" if axes == "SYX" else axes, **size}
    with tifffile.TiffWriter(path, ome=True) as tiff:
        tiff.write(pixels, subifds=levels - 1, metadata=metadata, **{**CM, **options})
        for level in range(1, levels):
            tiff.write(small(pixels, axes, 1 << level), subfiletype=1, metadata=None, **options)


def whole(pyramid, level=0):
    part = pyramid.read(level, (0, 0), pyramid.sizes[level])
    assert part.covered is None
    return part.rgb


@pytest.mark.parametrize("layout", [TILES, STRIPS], ids=["tiles", "strips"])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("axes", LAYOUTS)
def test_ome_tiff_in_colour_with_all_levels(tmp_path, axes, levels, layout):
    write_ome(tmp_path / "s.ome.tif", axes, levels, **{"tile": None, **layout})
    pyramid = open_pyramid(tmp_path / "s.ome.tif", CACHE)
    assert pyramid.sizes == [(512 >> level, 512 >> level) for level in range(levels)]
    assert pyramid.mpp == (0.5, 0.5) and pyramid.properties["openslide.vendor"] == "ome-tiff"
    for level in range(levels):
        assert np.array_equal(whole(pyramid, level), small(PICTURE, "YXS", 1 << level))
    assert np.array_equal(pyramid.read(0, (100, 200), (70, 90)).rgb, PICTURE[200:290, 100:170])


def test_a_thumbnail_is_made_of_the_small_levels(tmp_path):
    write_ome(tmp_path / "s.ome.tif", levels=3, compression="jpeg")
    with SlideReader(tmp_path / "s.ome.tif") as reader:
        reader.thumbnail(128)
        assert {level for level, _ in reader._pyramid._segments} == {2}


def test_the_name_does_not_matter_and_text_behind_the_xml_neither(tmp_path):
    write_ome(tmp_path / "s.tif", "CYX")
    xml = tifffile.TiffFile(tmp_path / "s.tif").pages.first.description
    tifffile.tiffcomment(tmp_path / "s.tif", (xml + "\n" * 20 + "<!-- exported -->").encode())
    pyramid = open_pyramid(tmp_path / "s.tif", CACHE)
    assert np.array_equal(whole(pyramid), PICTURE) and pyramid.mpp == (0.5, 0.5)


def test_channels_are_ordered_by_their_colours(tmp_path):
    blue_green_red = {"Channel": {"Name": ["b", "g", "r"], "Color": [0x0000FFFF, 0x00FF00FF, -16776961]}}
    write_ome(
        tmp_path / "s.ome.tif", "CYX", size={**SIZE, **blue_green_red}, image=PICTURE[..., ::-1].transpose(2, 0, 1)
    )
    assert np.array_equal(whole(open_pyramid(tmp_path / "s.ome.tif", CACHE)), PICTURE)


def write_images(path, *images):
    """(name, picture, µm/px) each."""
    with tifffile.TiffWriter(path, ome=True) as tiff:
        for name, picture, mpp in images:
            said = {"PhysicalSizeX": mpp, "PhysicalSizeY": mpp} if mpp else {}
            photometric = "rgb" if picture.ndim == 3 else "minisblack"
            tiff.write(picture, metadata={"Name": name, **said}, photometric=photometric, **TILES)


def test_of_several_images_the_slide_is_taken(tmp_path):
    label, macro = np.full((600, 600, 3), 9, np.uint8), np.full((300, 700, 3), 99, np.uint8)
    write_images(tmp_path / "s.ome.tif", ("label image", label, 7.0), ("s_macro", macro, 8.0), ("s.ndpi", PICTURE, 0.5))
    pyramid = open_pyramid(tmp_path / "s.ome.tif", CACHE)
    assert np.array_equal(whole(pyramid), PICTURE) and pyramid.mpp == (0.5, 0.5)
    assert read_differently(tmp_path / "s.ome.tif") == "another of the file's images is the slide"


def test_two_slides_in_a_file_are_named(tmp_path):
    write_images(tmp_path / "s.ome.tif", ("left", PICTURE, 0.5), ("right", PICTURE, 0.5))
    with pytest.raises(UserError, match=r"2 equally large images: 'left', 'right'"):
        open_pyramid(tmp_path / "s.ome.tif", CACHE)


def test_a_mask_of_the_same_size_is_not_the_slide(tmp_path):
    write_images(tmp_path / "s.ome.tif", ("mask", PICTURE[..., 0], 0.5), ("H&E", PICTURE, 0.5))
    assert np.array_equal(whole(open_pyramid(tmp_path / "s.ome.tif", CACHE)), PICTURE)


GREY = PICTURE[..., 0]
FLUORESCENCE = {"Channel": {"Name": ["DAPI", "FITC", "Cy5"], "Fluor": ["DAPI", "FITC", "Cy5"]}}


@pytest.mark.parametrize(
    ("image", "metadata", "said"),
    [
        (np.stack([PICTURE] * 5), {"axes": "ZYXS"}, "holds 5 z layers, not one picture"),
        (np.stack([PICTURE] * 2), {"axes": "TYXS"}, "holds 2 time points, not one picture"),
        (np.stack([GREY] * 4), {"axes": "CYX"}, "has 4 channels of uint8, not RGB"),
        (GREY, {"axes": "YX"}, r"picture in grey \(1 channel of uint8\), not RGB"),
        (PICTURE.astype(np.uint16), {"axes": "YXS"}, "holds uint16, not 8-bit"),
        (PICTURE.transpose(2, 0, 1).astype(np.uint16), {"axes": "CYX"}, "holds uint16, not 8-bit"),
        (PICTURE.transpose(2, 0, 1), {"axes": "CYX", **FLUORESCENCE}, "channels are fluorescence"),
    ],
)
def test_what_is_no_picture_in_rgb_is_refused_with_the_reason(tmp_path, image, metadata, said):
    photometric = "rgb" if metadata["axes"].endswith("S") else "minisblack"
    tifffile.imwrite(tmp_path / "s.ome.tif", image, photometric=photometric, ome=True, metadata=metadata, **TILES)
    with pytest.raises(UserError, match=rf"s\.ome\.tif: .*{said}.*Export it as an 8-bit RGB"):
        open_pyramid(tmp_path / "s.ome.tif", CACHE)
    assert read_differently(tmp_path / "s.ome.tif").startswith("it is refused now")


@pytest.mark.parametrize(
    "change", [("<Pixels ", "<Pixels <"), ('FirstC="0"', 'FirstC="0"><UUID FileName="b.tif">u</UUID')]
)
def test_ome_xml_that_does_not_fit_is_refused(tmp_path, change):
    write_ome(tmp_path / "s.ome.tif")
    xml = tifffile.TiffFile(tmp_path / "s.ome.tif").pages.first.description
    if "UUID" in change[1]:
        changed = re.sub(
            r"<TiffData ([^>]*?)/?>(</TiffData>)?", r'<TiffData \1><UUID FileName="b.tif">u</UUID></TiffData>', xml
        )
    else:
        changed = xml.replace(*change)
    assert changed != xml
    tifffile.tiffcomment(tmp_path / "s.ome.tif", changed.encode())
    with pytest.raises(UserError, match=r"OME-XML cannot be read, does not fit its pixels, or names other files"):
        open_pyramid(tmp_path / "s.ome.tif", CACHE)


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (PICTURE.astype(np.uint16) << 4, {"photometric": "rgb"}, "holds uint16, not 8-bit"),
        (GREY, {"photometric": "minisblack"}, "picture in grey"),
        (GREY, {"photometric": "miniswhite"}, "picture in grey, white is 0"),
        (np.stack([PICTURE] * 3), {"photometric": "rgb"}, "3 pictures of one size"),
        (np.stack([GREY] * 3), {"photometric": "minisblack"}, "3 pictures of one size"),
        (np.dstack([PICTURE, GREY]), {"photometric": "separated"}, "CMYK, not RGB"),
    ],
)
@pytest.mark.parametrize("layout", [TILES, STRIPS], ids=["tiles", "strips"])
def test_plain_tiffs_of_something_else_are_refused_alike(tmp_path, image, options, said, layout):
    with tifffile.TiffWriter(tmp_path / "s.tif") as tiff:
        for page in image if image.ndim == 4 or len(image) == 3 else [image]:
            tiff.write(page, metadata=None, **options, **layout, **CM)
    with pytest.raises(UserError, match=said):
        open_pyramid(tmp_path / "s.tif", CACHE)


def test_planes_that_are_named_channels_are_read_in_colour(tmp_path):
    options = {"photometric": "minisblack", "metadata": {"axes": "CYX"}, **TILES, **CM}
    tifffile.imwrite(tmp_path / "s.tif", PICTURE.transpose(2, 0, 1), **options)
    assert np.array_equal(whole(open_pyramid(tmp_path / "s.tif", CACHE)), PICTURE)
    assert read_differently(tmp_path / "s.tif") == "its colours are read as the file describes them"


def test_imagej_channels_are_refused_and_its_colour_is_read(tmp_path):
    tifffile.imwrite(tmp_path / "c.tif", PICTURE.transpose(2, 0, 1), imagej=True, metadata={"axes": "CYX"})
    with pytest.raises(UserError, match="3 channels as separate pictures"):
        open_pyramid(tmp_path / "c.tif", CACHE)
    tifffile.imwrite(tmp_path / "s.tif", PICTURE, imagej=True, resolution=(2, 2), metadata={"unit": "micron"})
    pyramid = open_pyramid(tmp_path / "s.tif", CACHE)
    assert np.array_equal(whole(pyramid), PICTURE) and pyramid.mpp == (0.5, 0.5)


def test_small_levels_in_subifds_of_a_plain_tiff(tmp_path):
    with tifffile.TiffWriter(tmp_path / "s.tif") as tiff:
        options = {"photometric": "rgb", "metadata": None, **TILES, **CM}
        tiff.write(PICTURE, subifds=2, **options)
        for factor in (2, 4):
            tiff.write(small(PICTURE, "YXS", factor), subfiletype=1, **options)
    pyramid = open_pyramid(tmp_path / "s.tif", CACHE)
    assert pyramid.sizes == [(512, 512), (256, 256), (128, 128)] and pyramid.mpp == (0.5, 0.5)
    assert np.array_equal(whole(pyramid, 2), small(PICTURE, "YXS", 4))
    assert read_differently(tmp_path / "s.tif") == "its small levels are used"


@pytest.mark.parametrize("compression", ["zstd", "lzw", "jpegxl", "webp"])
def test_compressions_that_openslide_lacks(tmp_path, compression):
    args = {"compressionargs": {"lossless": True}} if compression in ("jpegxl", "webp") else {}
    tifffile.imwrite(
        tmp_path / "s.tif", PICTURE, photometric="rgb", compression=compression, metadata=None, **TILES, **args
    )
    assert np.array_equal(whole(open_pyramid(tmp_path / "s.tif", CACHE)), PICTURE)


def test_tiles_that_an_ome_tiff_leaves_out_were_never_scanned(tmp_path):
    path = tmp_path / "s.ome.tif"
    write_ome(path, compression="deflate")
    with tifffile.TiffFile(path) as tiff:
        counts = tiff.pages[0].tags["TileByteCounts"]
        place, kind = counts.valueoffset, {3: "<u2", 4: "<u4"}[counts.dtype]
    data = bytearray(path.read_bytes())
    data[place : place + np.dtype(kind).itemsize] = bytes(np.dtype(kind).itemsize)
    path.write_bytes(data)
    part = TiffPyramid(path, CACHE).read(0, (0, 0), (512, 512))
    expected = np.ones((512, 512), bool)
    expected[:128, :128] = False
    assert np.array_equal(part.covered, expected) and np.array_equal(part.rgb[expected], PICTURE[expected])


@pytest.mark.parametrize(
    "options",
    [
        {"photometric": "ycbcr", "subsampling": (2, 2)},
        {"compressionargs": {"outcolorspace": "rgb"}},
        {"axes": "SYX"},
    ],
    ids=["ycbcr", "rgb", "planes"],
)
def test_a_damaged_jpeg_tile_is_unreadable_and_the_others_are_read(tmp_path, options):
    path = tmp_path / "s.ome.tif"
    write_ome(path, compression="jpeg", **options)
    before = whole(TiffPyramid(path, CACHE))
    with tifffile.TiffFile(path) as tiff:
        start, length = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]
    data = bytearray(path.read_bytes())
    data[start + length // 3 : start + length] = bytes(length - length // 3)
    path.write_bytes(data)
    pyramid = TiffPyramid(path, CACHE)
    with pytest.raises(Unreadable, match=r"level 0, segment 5: .*JPEG"):
        pyramid.read(0, (130, 130), (20, 20))
    assert np.array_equal(pyramid.read(0, (256, 128), (256, 384)).rgb, before[128:, 256:])


def test_jpegs_with_tables_beside_them_are_not_taken_for_damaged():
    path = REAL / "cmu-1-small-region.svs"
    if not path.exists():
        pytest.skip("the real slides are not there: ../shared/realdata/wsi")
    pyramid = TiffPyramid(path, CACHE)
    assert whole(pyramid).shape == (2967, 2220, 3)


def test_slides_that_are_read_as_ever_are_told_from_the_others(tmp_path):
    write_ome(tmp_path / "same.ome.tif")
    write_ome(tmp_path / "scale.ome.tif", resolution=(4e4, 4e4))
    tifffile.imwrite(tmp_path / "plain.tif", PICTURE, photometric="rgb", **TILES, **CM)
    write_ome(tmp_path / "strips.ome.tif", tile=None, **STRIPS)
    for name in ("same.ome.tif", "plain.tif", "strips.ome.tif"):
        assert read_differently(tmp_path / name) is None
    assert read_differently(tmp_path / "scale.ome.tif") == "its µm/px is the one of the OME-XML"
    assert read_differently(tmp_path / "scale.ome.tif", 0.5) is None


@pytest.mark.parametrize(
    ("size", "tags", "mpp"),
    [
        ({"PhysicalSizeX": 500, "PhysicalSizeXUnit": "nm", "PhysicalSizeY": 0.5}, CM, (0.5, 0.5)),
        ({"PhysicalSizeX": 0.25, "PhysicalSizeY": 0.26}, CM, (0.25, 0.26)),
        ({}, CM, (0.5, 0.5)),
        ({}, {"resolution": (300, 300), "resolutionunit": "INCH"}, None),
        ({}, {"resolution": (118.11, 118.11), "resolutionunit": "CENTIMETER"}, None),
        ({"PhysicalSizeX": 0.25}, CM, None),
        (
            {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 1, "PhysicalSizeYUnit": "pixel"},
            CM,
            None,
        ),
    ],
)
def test_the_scale_of_an_ome_tiff(tmp_path, size, tags, mpp):
    write_ome(tmp_path / "s.ome.tif", size=size, **tags)
    assert open_pyramid(tmp_path / "s.ome.tif", CACHE).mpp == mpp


@pytest.mark.parametrize("dpi", [72, 96, 150, 200, 300, 600, 1200])
@pytest.mark.parametrize("layout", [TILES, STRIPS], ids=["tiles", "strips"])
def test_a_printers_resolution_is_no_scale(tmp_path, dpi, layout):
    options = {"photometric": "rgb", "resolution": (dpi, dpi), "resolutionunit": "INCH", **layout}
    tifffile.imwrite(tmp_path / "s.tif", PICTURE, **options)
    assert open_pyramid(tmp_path / "s.tif", CACHE).mpp is None
    if layout is TILES:
        assert read_differently(tmp_path / "s.tif") == "its resolution is a printer's, no µm/px"
        assert read_differently(tmp_path / "s.tif", 0.5) is None


def test_a_scanners_resolution_in_inches_is_a_scale(tmp_path):
    tifffile.imwrite(
        tmp_path / "s.tif", PICTURE, photometric="rgb", resolution=(50800, 50800), resolutionunit="INCH", **TILES
    )
    assert open_pyramid(tmp_path / "s.tif", CACHE).mpp == pytest.approx((0.5, 0.5))


def test_a_file_that_is_gone_is_one_line(tmp_path):
    with pytest.raises(UserError, match=r"none\.tif: the slide cannot be opened"):
        open_pyramid(tmp_path / "none.tif", CACHE)


def test_ycbcr_without_jpeg_stays_with_openslide(tmp_path):
    """libtiff makes RGB of it, and so do we, to within rounding; existing shards stay as they are."""
    options = {"photometric": "ycbcr", "subsampling": (1, 1), "compression": "deflate", "metadata": None, **TILES, **CM}
    ycbcr = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]]
    tifffile.imwrite(tmp_path / "s.tif", np.ascontiguousarray(ycbcr), **options)
    shown = whole(open_pyramid(tmp_path / "s.tif", CACHE)).astype(int)
    assert np.abs(shown - PICTURE).mean() < 2
    by_tifffile = whole(TiffPyramid(tmp_path / "s.tif", CACHE)).astype(int)
    assert np.abs(by_tifffile - shown).max() <= 3
