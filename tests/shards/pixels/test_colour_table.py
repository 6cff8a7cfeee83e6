"""Every photometric interpretation × storage × depth: converted right, or refused with the true reason. See docs/pixels.md."""

import struct
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from mlseg_core.errors import UserError
from shards.pyramids import open_pyramid
from shards.pyramids.tiff import TiffPyramid
from shards.reader import SlideReader
from tests.shards.slides_for_tests import ROOT, tissue_slide

CACHE = 16 << 20
DOCS = (ROOT / "docs/pixels.md").read_text()
CM = {"resolution": (2e4, 2e4), "resolutionunit": "CENTIMETER"}  # 0.5 µm/px
SIDE, TRANSPARENT = 256, 70  # px; rows that were never scanned
LAYOUTS = {
    "tiles": {"tile": (128, 128)},
    "strips": {"rowsperstrip": 50},
    "tiles, deflate": {"tile": (128, 128), "compression": "deflate"},
    "strips, LZW": {"rowsperstrip": 50, "compression": "lzw"},
}
PICTURE = tissue_slide(4, SIDE)
GREY = PICTURE[..., 1]
ALPHA = np.full((SIDE, SIDE), 255, np.uint8)
ALPHA[:TRANSPARENT] = 0
BLACKED = np.where(ALPHA[..., None] > 0, PICTURE, 0).astype(np.uint8)
YCBCR = np.ascontiguousarray(cv2.cvtColor(PICTURE, cv2.COLOR_RGB2YCrCb)[..., [0, 2, 1]])
LAB = cv2.cvtColor(PICTURE, cv2.COLOR_RGB2LAB)
MAP = np.random.default_rng(3).integers(0, 256, (256, 3)).astype(np.uint8)


def with_alpha(colours, alpha=ALPHA):
    return np.dstack([colours, alpha])


@dataclass(frozen=True)
class Case:
    """row: of the table in the docs.  expected: RGB, or what the refusal says.  off: grey levels it may be off on average."""

    row: str
    stored: np.ndarray
    options: dict
    expected: np.ndarray | str
    covered: np.ndarray | None = None
    off: float = 0.0


def refused(row: str, stored: np.ndarray, said: str, **options) -> Case:
    return Case(row, stored, options, said)


CASES = [
    Case("RGB, 8 bits", PICTURE, {"photometric": "rgb"}, PICTURE),
    Case(
        "RGB with alpha (unassociated)",
        with_alpha(BLACKED),
        {"photometric": "rgb", "extrasamples": ["unassalpha"]},
        PICTURE,
        ALPHA > 0,
    ),
    Case(
        "RGB with alpha (associated)",
        with_alpha(BLACKED),
        {"photometric": "rgb", "extrasamples": ["assocalpha"]},
        PICTURE,
        ALPHA > 0,
    ),
    Case(
        "RGB with a fourth sample that is not said to be alpha",
        with_alpha(PICTURE),
        {"photometric": "rgb", "extrasamples": ["unspecified"]},
        PICTURE,
    ),
    refused(
        "RGB, 16 bits", PICTURE.astype(np.uint16) * 257, "the TIFF holds uint16, not 8-bit pixels", photometric="rgb"
    ),
    refused("RGB, 32 bits", PICTURE.astype(np.uint32), "the TIFF holds uint32, not 8-bit pixels", photometric="rgb"),
    refused("RGB, signed", PICTURE.astype(np.int8), "the TIFF holds int8, not 8-bit pixels", photometric="rgb"),
    refused(
        "RGB, floats", (PICTURE / 255).astype(np.float32), "the TIFF holds float32, not 8-bit pixels", photometric="rgb"
    ),
    refused(
        "RGB with alpha, 16 bits",
        with_alpha(PICTURE).astype(np.uint16),
        "the TIFF holds uint16, not 8-bit pixels",
        photometric="rgb",
        extrasamples=["unassalpha"],
    ),
    Case("YCbCr, not subsampled", YCBCR, {"photometric": "ycbcr", "subsampling": (1, 1)}, PICTURE, off=0.6),
    Case("palette, 8 bits", GREY, {"photometric": "palette", "colormap": (MAP.T.astype(np.uint16) * 257)}, MAP[GREY]),
    refused("grey", GREY, r"a picture in grey \(1 channel of uint8\), not RGB", photometric="minisblack"),
    refused(
        "grey, white is 0",
        GREY,
        r"a picture in grey, white is 0 \(1 channel of uint8\), not RGB",
        photometric="miniswhite",
    ),
    refused(
        "grey, 16 bits",
        GREY.astype(np.uint16),
        r"a picture in grey \(1 channel of uint16\), not RGB",
        photometric="minisblack",
    ),
    refused(
        "grey, floats",
        GREY.astype(np.float32),
        r"a picture in grey \(1 channel of float32\), not RGB",
        photometric="minisblack",
    ),
    refused("grey, 1 bit", GREY > 128, r"a picture in grey \(1 channel of bool\), not RGB", photometric="minisblack"),
    refused(
        "grey with alpha",
        with_alpha(GREY),
        "has 2 channels of uint8, not RGB",
        photometric="minisblack",
        extrasamples=["unassalpha"],
    ),
    refused("CMYK", with_alpha(PICTURE), "the TIFF's colours are CMYK, not RGB", photometric="separated"),
    refused(
        "CMYK, 16 bits",
        with_alpha(PICTURE).astype(np.uint16),
        "the TIFF's colours are CMYK, not RGB",
        photometric="separated",
    ),
    refused("CIE L*a*b*", LAB, r"the TIFF's colours are CIE L\*a\*b\*, not RGB", photometric="cielab"),
    refused(
        "CIE L*a*b*, 16 bits",
        LAB.astype(np.uint16) << 8,
        r"the TIFF's colours are CIE L\*a\*b\*, not RGB",
        photometric="cielab",
    ),
    refused("ICC L*a*b*", LAB, r"the TIFF's colours are ICC L\*a\*b\*, not RGB", photometric="icclab"),
    refused(
        "ICC L*a*b*, 16 bits",
        LAB.astype(np.uint16) << 8,
        r"the TIFF's colours are ICC L\*a\*b\*, not RGB",
        photometric="icclab",
    ),
    refused("ITU L*a*b*", LAB, r"the TIFF's colours are ITU L\*a\*b\*, not RGB", photometric="itulab"),
    refused("LogLuv", LAB, "the TIFF's colours are LogLuv, not RGB", photometric=32845),
    refused(
        "five or more channels",
        np.dstack([PICTURE, GREY, GREY]),
        "has 5 channels of uint8, not RGB",
        photometric="rgb",
        extrasamples=["unspecified"] * 2,
    ),
]


def write(path: Path, stored: np.ndarray, layout: dict, planes: bool = False, **options) -> None:
    if planes:
        stored, options = np.ascontiguousarray(stored.transpose(2, 0, 1)), {**options, "planarconfig": "separate"}
    tifffile.imwrite(path, stored, metadata=None, **options, **layout, **CM)


def check(path: Path, case: Case) -> None:
    if isinstance(case.expected, str):
        with pytest.raises(UserError, match=case.expected):
            open_pyramid(path, CACHE)
        return
    pyramid = open_pyramid(path, CACHE)
    for corner, size in (((0, 0), (SIDE, SIDE)), ((30, 40), (150, 200))):
        part = pyramid.read(0, corner, size)
        box = np.s_[corner[1] : corner[1] + size[1], corner[0] : corner[0] + size[0]]
        covered = np.ones(size[::-1], bool) if case.covered is None else case.covered[box]
        assert np.array_equal(np.ones(size[::-1], bool) if part.covered is None else part.covered, covered)
        off = np.abs(part.rgb.astype(int) - case.expected[box])[covered]
        assert off.mean() <= case.off and off.max() <= 4 * bool(case.off), f"{off.mean()} off"
    pyramid.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.row)
def test_every_kind_of_colours_in_every_storage(tmp_path, case):
    assert f"| {case.row} |" in DOCS
    for (name, layout), planes in product(LAYOUTS.items(), (False, True)):
        if planes and (case.stored.ndim == 2 or case.options["photometric"] == 32845):
            continue
        if name.endswith("LZW") and case.stored.dtype == bool:
            continue
        path = tmp_path / f"{name}-{planes}.tif"
        write(path, case.stored, layout, planes, **case.options)
        check(path, case)


@pytest.mark.parametrize("case", [case for case in CASES if case.row.startswith("RGB")], ids=lambda case: case.row)
@pytest.mark.parametrize("layout", ["tiles, deflate", "strips"])
def test_the_same_in_ome_tiff(tmp_path, case, layout):
    size = {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    options = {**case.options, **LAYOUTS[layout]}
    tifffile.imwrite(tmp_path / "s.ome.tif", case.stored, ome=True, metadata={"axes": "YXS", **size}, **options)
    check(tmp_path / "s.ome.tif", case)


@pytest.mark.parametrize("case", [case for case in CASES if "alpha (" in case.row], ids=lambda case: case.row)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_transparent_is_glass_and_no_fluorescence(tmp_path, case, layout):
    write(tmp_path / "s.tif", case.stored, LAYOUTS[layout], **case.options)
    with SlideReader(tmp_path / "s.tif") as reader:
        assert (reader.view((0.0, 0.0), (1.0, 1.0), (SIDE, TRANSPARENT - 3)) == reader.glass).all()
        assert min(reader.glass) > 180


def test_associated_alpha_is_divided_out(tmp_path):
    half = np.full((SIDE, SIDE), 128, np.uint8)
    stored = with_alpha((PICTURE.astype(int) * 128 // 255).astype(np.uint8), half)
    for name, layout in LAYOUTS.items():
        write(tmp_path / f"{name}.tif", stored, layout, photometric="rgb", extrasamples=["assocalpha"])
        shown = open_pyramid(tmp_path / f"{name}.tif", CACHE).read(0, (0, 0), (SIDE, SIDE)).rgb
        assert np.abs(shown.astype(int) - PICTURE).max() <= 3


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("orientation", range(9))
def test_a_slide_that_is_to_be_shown_turned_is_refused(tmp_path, orientation, layout):
    """Until now tiles were mirrored in their place, and strips were read as they lie."""
    tag = [(274, "H", 1, orientation, True)]
    write(tmp_path / "s.tif", PICTURE, LAYOUTS[layout], photometric="rgb", extratags=tag)
    write(tmp_path / "s.ome.tif", PICTURE, LAYOUTS[layout], photometric="rgb", extratags=tag, ome=True)
    for path in (tmp_path / "s.tif", tmp_path / "s.ome.tif"):
        if orientation < 2:
            check(path, Case("", PICTURE, {}, PICTURE))
        else:
            check(
                path, Case("", PICTURE, {}, rf"turned or mirrored \(TIFF orientation {orientation}\)\. Turn its pixels")
            )


@pytest.mark.parametrize("luma", [(0.299, 0.587, 0.114), (0.2126, 0.7152, 0.0722)])
def test_ycbcr_in_strips_follows_its_tags_as_openslide_does_in_tiles(tmp_path, luma):
    coefficients = tuple(number for value in luma for number in (round(value * 10_000), 10_000))
    black_white = tuple(number for value in (16, 235, 128, 240, 128, 240) for number in (value, 1))
    tags = [(529, "2I", 3, coefficients, True), (532, "2I", 6, black_white, True)]
    shown = {}
    for name in ("tiles", "strips"):
        options = {"photometric": "ycbcr", "subsampling": (1, 1), "extratags": tags}
        write(tmp_path / f"{name}.tif", YCBCR, LAYOUTS[name], **options)
        shown[name] = open_pyramid(tmp_path / f"{name}.tif", CACHE).read(0, (0, 0), (SIDE, SIDE)).rgb.astype(int)
    off = np.abs(shown["tiles"] - shown["strips"])
    assert off.max() <= 3 and off.mean() < 0.6  # libtiff works with whole numbers
    assert np.abs(shown["strips"] - PICTURE).mean() > 2  # the tags matter


def subsampled(path: Path, tiled: bool) -> None:
    """YCbCr of 2 × 2: of each block four Y, then Cb and Cr. tifffile does not write it, so this does."""
    blocks = YCBCR.reshape(SIDE // 2, 2, SIDE // 2, 2, 3).transpose(0, 2, 1, 3, 4)  # row, column, y, x, sample
    luma = blocks[..., 0].reshape(SIDE // 2, SIDE // 2, 4)
    chroma = blocks[..., 1:].mean(axis=(2, 3)).round().astype(np.uint8)
    units = np.concatenate([luma, chroma], axis=-1)
    step = 64
    parts = [
        units[y : y + step, x : x + (step if tiled else SIDE)].tobytes()
        for y in range(0, SIDE // 2, step)
        for x in range(0, SIDE // 2 if tiled else 1, step)
    ]
    tags = [
        (256, 4, [SIDE]),
        (257, 4, [SIDE]),
        (258, 3, [8, 8, 8]),
        (259, 3, [1]),
        (262, 3, [6]),
        (277, 3, [3]),
        (530, 3, [2, 2]),
    ]
    starts = np.cumsum([8, *map(len, parts)]).tolist()
    where, sizes = starts[:-1], list(map(len, parts))
    if tiled:
        tags += [(322, 4, [128]), (323, 4, [128]), (324, 4, where), (325, 4, sizes)]
    else:
        tags += [(273, 4, where), (278, 4, [128]), (279, 4, sizes)]
    tags.sort()
    table, more = struct.pack("<H", len(tags)), b""
    end = starts[-1] + 2 + 12 * len(tags) + 4
    for tag, kind, values in tags:
        data = struct.pack(f"<{len(values)}{'H' if kind == 3 else 'I'}", *values)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", end + len(more))
        more += data if len(data) > 4 else b""
        table += struct.pack("<HHI", tag, kind, len(values)) + place
    path.write_bytes(b"II*\0" + struct.pack("<I", starts[-1]) + b"".join(parts) + table + b"\0\0\0\0" + more)


def test_subsampled_ycbcr_is_read_in_tiles_and_refused_in_strips(tmp_path):
    subsampled(tmp_path / "tiles.tif", True)
    subsampled(tmp_path / "strips.tif", False)
    shown = open_pyramid(tmp_path / "tiles.tif", CACHE).read(0, (0, 0), (SIDE, SIDE)).rgb.astype(int)
    assert np.abs(shown - PICTURE).mean() < 25  # the noise of the picture is finer than 2 × 2
    grey = [image.astype(np.float64) @ (0.299, 0.587, 0.114) for image in (shown, PICTURE)]
    assert np.abs(grey[0] - grey[1]).mean() < 8
    with pytest.raises(UserError, match="YCbCr, subsampled and without JPEG, not RGB"):
        open_pyramid(tmp_path / "strips.tif", CACHE)
    with pytest.raises(UserError, match="YCbCr, subsampled and without JPEG, not RGB"):
        TiffPyramid(tmp_path / "tiles.tif", CACHE)
    assert "| YCbCr, subsampled |" in DOCS


@pytest.mark.parametrize("compression", ["jpeg", "webp", "jpeg2000", "jpegxl"])
@pytest.mark.parametrize("layout", ["tiles", "strips"])
def test_decoders_that_make_rgb_of_ycbcr_themselves(tmp_path, compression, layout):
    path, smooth = tmp_path / "s.tif", cv2.GaussianBlur(PICTURE, (0, 0), 5)
    args = {"compressionargs": {"level": 95}} if compression != "jpeg2000" else {}
    try:
        tifffile.imwrite(
            path, smooth, metadata=None, compression=compression, photometric="rgb", **args, **LAYOUTS[layout]
        )
    except ValueError as error:
        pytest.skip(f"tifffile does not write it: {error}")
    shown = open_pyramid(path, CACHE).read(0, (0, 0), (SIDE, SIDE)).rgb.astype(int)
    assert np.abs(shown - smooth).mean() < 3


def test_a_vsi_container_is_not_cut_by_its_preview(tmp_path):
    write(tmp_path / "s.vsi", PICTURE, LAYOUTS["tiles"], photometric="rgb")
    for beside in (False, True):
        with pytest.raises(
            UserError, match=r"Olympus \.vsi holds a preview; .*folder _s_, .*Export the slide as OME-TIFF"
        ):
            open_pyramid(tmp_path / "s.vsi", CACHE)
        (tmp_path / "_s_" / "stack1").mkdir(parents=True, exist_ok=beside)


@pytest.mark.parametrize(
    ("unit", "um"),
    [
        *(("Å", 1e-4), ("\u212b", 1e-4), ("A\u030a", 1e-4), ("angstrom", 1e-4), ("nm", 1e-3), ("pm", 1e-6)),
        *(("µm", 1.0), ("\u03bcm", 1.0), ("um", 1.0), ("microns", 1.0), ("micrometre", 1.0)),
        *(("mm", 1e3), ("cm", 1e4), ("m", 1e6), ("in", 25400.0), ("inch", 25400.0), ("thou", 25.4)),
        *(("pixel", None), ("reference frame", None), ("M", None), ("", None)),
    ],
)
def test_units_of_length(tmp_path, unit, um):
    size = {
        f"PhysicalSize{axis}{what}": value for axis in "XY" for what, value in (("", 0.5 / (um or 1)), ("Unit", unit))
    }
    tifffile.imwrite(tmp_path / "s.ome.tif", PICTURE, photometric="rgb", ome=True, metadata=size, tile=(128, 128))
    found = open_pyramid(tmp_path / "s.ome.tif", CACHE).mpp
    assert found == (None if um is None else pytest.approx((0.5, 0.5)))
