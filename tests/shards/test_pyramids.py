"""Slide files behind one interface: every real file opens, the scale of a level is measured, damage stays where it is."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile

from mlseg_core.errors import UserError
from shards.pyramids import Unreadable, level_scales, open_pyramid
from shards.pyramids.tiff import TiffPyramid
from shards.reader import SlideReader

REAL = Path(__file__).parents[2] / "../shared/realdata"
needs_real = pytest.mark.skipif(not REAL.is_dir(), reason="no real slides beside the project")
CACHE = 16 << 20


@needs_real
@pytest.mark.parametrize(
    ("name", "size", "mpp", "vendor"),
    [
        ("wsi/cmu-1-small-region.svs", (2220, 2967), (0.499, 0.499), "aperio"),
        ("wsi/tcga-cr-7395-01a-01-ts1.svs", (4443, 3567), None, "aperio"),
        ("wsi_dicom", (2220, 2967), (0.499, 0.499), "dicom"),
        ("wsi_dicom/level-3-frames-0-1.dcm", (2220, 2967), (0.499, 0.499), "dicom"),
        ("ihc/OS-2-ndpi.ome.tif", (2202, 2202), (0.227097, 0.227102), "ome-tiff"),
        ("ihc/kidney-48-5.tif", (1493, 901), None, "tiff"),
    ],
)
def test_real_slides_open(name, size, mpp, vendor):
    pyramid = open_pyramid(REAL / name, CACHE)
    assert pyramid.sizes[0] == size and pyramid.properties["openslide.vendor"] == vendor
    assert pyramid.mpp == (None if mpp is None else pytest.approx(mpp, abs=1e-6))
    part = pyramid.read(0, (700, 500), (300, 200))
    assert part.rgb.shape == (200, 300, 3) and part.origin == (700, 500) and part.covered is None
    assert part.rgb.std() > 1
    pyramid.close()


@needs_real
def test_a_damaged_slide_is_one_line():
    with pytest.raises(UserError, match=r"broken\.svs: the slide cannot be opened"):
        open_pyramid(REAL / "wsi/broken.svs", CACHE)


@needs_real
@pytest.mark.parametrize("name", ["OS-2-ndpi.ome.tif", "kidney-48-5.tif"])
def test_tiff_reads_what_tifffile_reads(name):
    whole = tifffile.imread(REAL / "ihc" / name)[..., :3]
    pyramid = TiffPyramid(REAL / "ihc" / name, cache_bytes=1 << 20)
    width, height = pyramid.sizes[0]
    for first, size in (((0, 0), (10, 10)), ((500, 510), (600, 30)), ((width - 7, height - 300), (7, 300))):
        expected = whole[first[1] : first[1] + size[1], first[0] : first[0] + size[0]]
        assert (pyramid.read(0, first, size).rgb == expected).all()
    assert pyramid._held <= 1 << 20 or len(pyramid._segments) == 1


def write_levels(path: Path, levels: list[np.ndarray]) -> None:
    options = {"tile": (256, 256), "photometric": "rgb", "compression": "deflate", "metadata": None}
    with tifffile.TiffWriter(path) as tiff:
        for number, level in enumerate(levels):
            tiff.write(
                level, subfiletype=int(number > 0), resolution=(2e4, 2e4), resolutionunit="CENTIMETER", **options
            )


def texture(width: int, height: int) -> np.ndarray:
    noise = np.random.default_rng(1).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


def halve(image: np.ndarray, cut: bool) -> np.ndarray:
    """The next level: the odd row and column cut off, or squeezed in."""
    width, height = image.shape[1] // 2, image.shape[0] // 2
    source = image[: 2 * height, : 2 * width] if cut else image
    return cv2.resize(source, (width, height), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("cut", [True, False])
def test_the_scale_of_a_level_is_measured(tmp_path, cut):
    """Both kinds of writers round 2047 x 1535 to the same level sizes; only the pixels tell them apart."""
    levels = [texture(2047, 1535)]
    for _ in range(3):
        levels.append(halve(levels[-1], cut))
    write_levels(tmp_path / "slide.tif", levels)
    pyramid = open_pyramid(tmp_path / "slide.tif", CACHE)
    assert pyramid.sizes[2] == (511, 383)
    for number, scale in enumerate(level_scales(pyramid)):
        size = pyramid.sizes[number]
        true = (2.0**number,) * 2 if cut else (2047 / size[0], 1535 / size[1])
        far_edge_error = [abs(scale[axis] - true[axis]) * size[axis] for axis in (0, 1)]
        assert max(far_edge_error) < 0.5, f"level {number}: {far_edge_error} level-0 px off"


def shift(reference: np.ndarray, image: np.ndarray) -> np.ndarray:
    """How far `image` lies beside `reference`, px (x, y): Gauss-Newton on their difference."""
    first, second = (cv2.GaussianBlur(a.astype(np.float32).mean(axis=2), (0, 0), 1.5) for a in (reference, image))
    moved = np.zeros(2)
    for _ in range(5):
        matrix = np.float32([[1, 0, moved[0]], [0, 1, moved[1]]])
        flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
        warped = cv2.warpAffine(second, matrix, second.shape[::-1], flags=flags, borderMode=cv2.BORDER_REFLECT)
        dy, dx = np.gradient((first + warped) / 2)
        inner = np.s_[6:-6, 6:-6]
        columns = [dx[inner].ravel(), dy[inner].ravel(), np.ones(dx[inner].size), first[inner].ravel()]
        found, *_ = np.linalg.lstsq(np.stack(columns, 1), (warped - first)[inner].ravel(), rcond=None)
        moved -= found[:2]
    return -moved


def shifts(reader: SlideReader, level: int) -> np.ndarray:
    """Level-0 px between views of one place read from `level` and from level 0, at nine places, (9, 2)."""
    scales, sizes = level_scales(reader._pyramid), reader.levels
    side = min(128, int(min(sizes[level]) * 0.55))
    found = []
    for fx in (0.3, 0.5, 0.7):
        for fy in (0.3, 0.5, 0.7):
            corner = (
                reader.size[0] * fx - side * scales[level][0] / 2,
                reader.size[1] * fy - side * scales[level][1] / 2,
            )
            view = reader.view(corner, scales[level], (side, side))
            finest = SlideReader(reader.path, reader.mpp[0])
            finest.__dict__["_scales"] = scales[:1]  # knows of level 0 only
            found.append(shift(finest.view(corner, scales[level], (side, side)), view) * np.array(scales[level]))
            finest.__exit__(None, None, None)
    return np.array(found)


@needs_real
@pytest.mark.parametrize(
    ("name", "level"), [*(("wsi_dicom", n) for n in (1, 2, 3, 4)), ("wsi/tcga-cr-7395-01a-01-ts1.svs", 1)]
)
def test_real_levels_show_the_same_place_within_a_pixel(name, level):
    with SlideReader(REAL / name, 0.5) as reader:
        off = np.abs(np.median(shifts(reader, level), axis=0))
    print(f"{name} level {level}: {off.round(2)} level-0 px")
    assert (off <= 1).all()


@pytest.mark.parametrize("cut", [True, False])
def test_rounded_levels_show_the_same_place_within_a_pixel(tmp_path, cut):
    levels = [texture(2047, 1535)]
    for _ in range(3):
        levels.append(halve(levels[-1], cut))
    write_levels(tmp_path / "slide.tif", levels)
    with SlideReader(tmp_path / "slide.tif") as reader:
        for level in (1, 2, 3):
            assert np.abs(shifts(reader, level)).max() <= 1


def test_a_bad_tile_does_not_spoil_the_rest(tmp_path):
    path = tmp_path / "slide.tif"
    write_levels(path, [texture(1024, 1024)])
    with tifffile.TiffFile(path) as tiff:
        offset, size = tiff.pages[0].dataoffsets[5], tiff.pages[0].databytecounts[5]  # x 256-512, y 256-512
    data = bytearray(path.read_bytes())
    data[offset : offset + size] = b"\xff" * size
    path.write_bytes(data)
    for pyramid in (open_pyramid(path, CACHE), TiffPyramid(path, CACHE)):
        whole = pyramid.read(0, (0, 0), (256, 256)).rgb
        with pytest.raises(Unreadable):
            pyramid.read(0, (200, 200), (100, 100))
        assert (pyramid.read(0, (0, 0), (256, 256)).rgb == whole).all()


@pytest.mark.parametrize(
    ("image", "options", "said"),
    [
        (np.zeros((64, 64), np.uint16), {}, r"grey \(1 channel of uint16\), not RGB"),
        (np.zeros((64, 64, 3), np.uint16), {"photometric": "rgb"}, "holds uint16, not 8-bit"),
        (np.zeros((4, 64, 64), np.uint8), {"photometric": "minisblack", "planarconfig": "separate"}, "not RGB"),
    ],
)
def test_fluorescence_is_refused_in_words(tmp_path, image, options, said):
    tifffile.imwrite(tmp_path / "cells.ome.tif", image, **options)
    with pytest.raises(UserError, match=said):
        TiffPyramid(tmp_path / "cells.ome.tif", CACHE)
