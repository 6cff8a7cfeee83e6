"""Focus: gaussian blur of known sigma is found on real IHC and on phantoms, sharp tissue is left alone."""

import cv2
import numpy as np
import pytest

from shards.audit.blur import BLURRED, sharpness, tissue_sharpness
from shards.audit.tissue import find_tissue
from shards.reader import SlideReader
from tests.shards.audit.pictures import glass, ihc, open_picture


def blurred(rgb: np.ndarray, sigma_um: float, mpp: float) -> np.ndarray:
    return cv2.GaussianBlur(rgb, (0, 0), sigma_um / mpp) if sigma_um else rgb


@pytest.mark.parametrize(("sigma_um", "sharp"), [(0, True), (2, False), (3, False), (5, False)])
def test_real_ihc(tmp_path, sigma_um, sharp):
    picture = np.tile(blurred(ihc(), sigma_um, 0.5), (4, 4, 1))
    with open_picture(tmp_path / "ihc.tif", picture, 0.5) as reader:
        figures = tissue_sharpness(reader, find_tissue(reader))
    print(sigma_um, figures.round(2))
    assert figures.size == 16
    assert ((figures > BLURRED) == sharp).all()


def test_phantoms_of_every_scanner(phantoms):
    for path in phantoms:
        with SlideReader(path) as reader:
            figures = tissue_sharpness(reader, find_tissue(reader))
            view = reader.read((1200.0, 1200.0), reader.mpp[0], 512)[0]
            worst = sharpness(blurred(view, 2.5, reader.mpp[0]))
        print(f"{path.stem}: {figures.min():.2f} to {figures.max():.2f}, blurred {worst:.2f}")
        assert (figures < BLURRED).mean() < 0.1, path.stem  # phantoms hold blurred areas on purpose
        assert worst < BLURRED


def test_contrast_and_stain_cancel():
    view = ihc()[::2, ::2]
    pale = (128 + 0.3 * (view.astype(float) - 128)).round().astype(np.uint8)
    assert sharpness(pale) == pytest.approx(sharpness(view), rel=0.05)


def test_what_has_no_texture_is_not_judged():
    assert sharpness(np.full((256, 256, 3), 200, np.uint8)) is None


def test_tiles_are_bounded_and_on_tissue(tmp_path):
    picture = glass(2560, 2560)
    picture[:2304] = np.tile(ihc()[::2, ::2], (9, 10, 1))
    picture[:, 1920:] = blurred(picture[:, 1920:], 3, 1.0)
    with open_picture(tmp_path / "large.tif", picture, 1.0) as reader:
        tissue = find_tissue(reader)
        figures = tissue_sharpness(reader, tissue)
        again = tissue_sharpness(reader, tissue)
    assert figures.size == 48 and (figures == again).all()
    assert (figures < BLURRED).mean() == pytest.approx(0.25, abs=0.1)
