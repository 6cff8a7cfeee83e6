"""Label masks as PNG and TIFF at any scale."""

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from mlseg_core.errors import UserError
from shards.annotation import AnnotationFile, mask
from shards.config import HOLE
from tests.shards.annotation.files_for_tests import CONFIG, DCIS, NONE, STROMA, TUMOUR, opened, whole, write

VALUES = np.zeros((45, 60), np.uint8)
VALUES[5:20, 10:40], VALUES[10:15, 20:30], VALUES[30:40, 50:60] = 1, 2, 7
FINE = np.select([VALUES == 1, VALUES == 2, VALUES == 7], [STROMA, TUMOUR, DCIS], NONE).astype(np.uint8)


def saved(folder, kind, values=VALUES):
    path = folder / "mask.bin"  # the content tells, not the suffix
    if kind == "png":
        Image.fromarray(values).save(path, "PNG")
    elif kind == "palette":
        image = Image.fromarray(values, "P")
        image.putpalette(np.random.default_rng(1).integers(0, 255, 768).astype(np.uint8).tobytes())
        image.save(path, "PNG")
    elif kind == "png16":
        Image.fromarray(values.astype(np.uint16)).save(path, "PNG")
    else:
        layouts = {
            "tiles": {"tile": (16, 16), "compression": "deflate"},
            "strips": {"rowsperstrip": 7, "compression": "lzw"},
            "whole": {},
            "big": {"tile": (32, 16), "compression": "zstd"},
        }
        with tifffile.TiffWriter(path, bigtiff=kind == "big") as tiff:
            tiff.write(
                values.astype(np.uint16) if kind == "whole" else values, photometric="minisblack", **layouts[kind]
            )
            if kind == "tiles":  # a coarser level that means nothing
                tiff.write(np.full((22, 30), 99, np.uint8), subfiletype=1, tile=(16, 16), photometric="minisblack")
    return path


KINDS = ["png", "palette", "png16", "tiles", "strips", "whole", "big"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("block", [4096, 8])
def test_every_pixel(tmp_path, kind, block, monkeypatch):
    """The slide is 8 × the mask; views on it at any step take the mask pixel under each centre."""
    monkeypatch.setattr(mask, "_BLOCK", block)
    monkeypatch.setattr(mask, "_BAND", 60 * block)
    annotation = opened(saved(tmp_path, kind), size=(480, 360))
    assert annotation.fine == {STROMA, TUMOUR, DCIS} and annotation.bounds == (80, 40, 480, 320)
    assert np.array_equal(whole(annotation, (480, 360)), np.kron(FINE, np.ones((8, 8), np.uint8)))
    for corner, step, size in [((-50.0, -20.0), (3.0, 5.0), (200, 90)), ((77.3, 41.9), (0.25, 0.25), (50, 60))]:
        x = np.floor((corner[0] + (np.arange(size[0]) + 0.5) * step[0]) / 8).astype(int)
        y = np.floor((corner[1] + (np.arange(size[1]) + 0.5) * step[1]) / 8).astype(int)
        padded = np.pad(FINE, 100, constant_values=NONE)
        assert np.array_equal(annotation.label(corner, step, size), padded[np.ix_(y + 100, x + 100)])
    assert (annotation.label((900.0, 0.0), (1.0, 1.0), (5, 5)) == NONE).all()


def test_scales_differ_by_axis_and_by_a_rounded_pixel(tmp_path):
    path = saved(tmp_path, "png")
    annotation = opened(path, size=(967, 720))  # 60.4 × 45 mask px, rounded down
    assert annotation.bounds == pytest.approx((10 * 967 / 60, 80, 967, 640))
    with pytest.raises(UserError, match="not the shape of the slide, 967 × 800"):
        opened(path, size=(967, 800))


def test_zero_may_be_a_class_and_a_value_a_hole(tmp_path):
    classes = {**CONFIG.mask_classes, "0": "Stroma", "1": "lumen"}
    config = CONFIG.model_copy(
        update={"mask_classes": classes, "annotation_classes": {**CONFIG.annotation_classes, "lumen": HOLE}}
    )
    label = whole(opened(saved(tmp_path, "tiles"), config, (60, 45)), (60, 45))
    assert np.array_equal(label, np.where(VALUES == 0, STROMA, np.where(VALUES == 1, NONE, FINE)))


def test_black_and_white(tmp_path):
    Image.fromarray(VALUES == 1).save(tmp_path / "mask.png")
    label = whole(opened(tmp_path / "mask.png", size=(60, 45)), (60, 45))
    assert np.array_equal(label, np.where(VALUES == 1, STROMA, NONE))


def test_all_unmapped_values_are_listed(tmp_path):
    path = saved(tmp_path, "strips", VALUES * 3)
    assert AnnotationFile(path).names == {"0", "3", "6", "21"}
    with pytest.raises(UserError, match=r"nobody mapped: 3 \(400 px\), 6 \(50 px\), 21 \(100 px\)\. .*mask_classes"):
        opened(path, size=(60, 45))
    config = CONFIG.model_copy(update={"mask_classes": {"1": "Zebra", "2": "Tumor", "7": "Aardvark"}})
    with pytest.raises(UserError, match=r"'Aardvark', 'Zebra'"):
        opened(saved(tmp_path, "png"), config, (60, 45))


def test_outlines_lie_on_the_border(tmp_path):
    rings = opened(saved(tmp_path, "png"), size=(480, 360)).outlines(8.0)
    outer = [ring for fine, ring in rings if fine == DCIS]
    assert len(outer) == 1 and np.abs(outer[0].min(axis=0) - (400, 240)).max() <= 8
    assert {fine for fine, _ in rings} == {STROMA, TUMOUR, DCIS}


def test_the_digest_follows_pixels_and_names(tmp_path):
    path = saved(tmp_path, "png")
    first = opened(path, size=(60, 45)).digest
    more = CONFIG.model_copy(update={"mask_classes": {**CONFIG.mask_classes, "9": "Tumor"}})
    assert opened(path, more, (60, 45)).digest == first
    other = CONFIG.model_copy(update={"mask_classes": {**CONFIG.mask_classes, "7": "Tumor"}})
    assert opened(path, other, (60, 45)).digest != first
    changed = VALUES.copy()
    changed[0, 0] = 1
    assert opened(saved(tmp_path, "png", changed), size=(60, 45)).digest != first


@pytest.mark.parametrize("kind", ["png", "tiles", "strips"])
@pytest.mark.parametrize("keep", [10, 60, 0.5, 0.9])
def test_truncated(tmp_path, kind, keep):
    random = np.random.default_rng(0).choice(np.array([0, 1, 2, 7], np.uint8), (450, 600))
    path = saved(tmp_path, kind, random)
    data = path.read_bytes()
    path.write_bytes(data[: keep if keep >= 1 else int(len(data) * keep)])
    with pytest.raises(UserError, match=r"mask\.bin"):
        opened(path, size=(600, 450))


def test_pictures_and_huge_pngs_are_refused(tmp_path):
    colours = cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes()
    with pytest.raises(UserError, match="a picture"):
        opened(write(tmp_path, colours), size=(4, 4))
    tifffile.imwrite(tmp_path / "rgb.tif", np.zeros((4, 4, 3), np.uint8), photometric="rgb")
    with pytest.raises(UserError, match=r"rgb\.tif"):
        opened(tmp_path / "rgb.tif", size=(4, 4))
    blank = cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes()
    header = blank.index(b"IHDR")
    huge = blank[: header + 4] + (200_000).to_bytes(4, "big") * 2 + blank[header + 12 :]
    with pytest.raises(UserError, match=r"a\.annotation"):
        opened(write(tmp_path, huge), size=(4, 4))
    tifffile.imwrite(tmp_path / "large.tif", np.full((4, 4), 70_000, np.uint32))
    with pytest.raises(UserError, match="outside 0 to 65535"):
        opened(tmp_path / "large.tif", size=(4, 4))
