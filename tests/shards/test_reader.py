"""Reading by µm/px: the right place, the right size, glass outside."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mlseg_core.errors import UserError
from shards.reader import SlideReader, _resample
from tests.shards.slides_for_tests import ramp, write_slide

WIDTH, HEIGHT = 1021, 767  # odd: level sizes are rounded


@pytest.mark.parametrize("center", [(510.0, 380.0), (300.25, 400.75), (700.5, 300.0)])
def test_a_view_is_centred_on_its_point_at_every_resolution(tmp_path, center):
    """A dark disc about `center` has its centroid in the middle of the view, and the right size."""
    x, y = np.meshgrid(np.arange(WIDTH) + 0.5, np.arange(HEIGHT) + 0.5)
    dark = (x - center[0]) ** 2 + (y - center[1]) ** 2 < 60**2
    image = np.repeat((255 - 200 * dark)[..., None], 3, axis=2).round().astype(np.uint8)
    write_slide(tmp_path / "disc.tif", image, mpp=0.5)
    with SlideReader(tmp_path / "disc.tif") as reader:
        for mpp in (0.5, 0.7, 1.0, 1.9, 2.0, 4.0):
            view, inside = reader.read(center, mpp, 64)
            assert inside.all() and view.shape == (64, 64, 3) and view.dtype == np.uint8
            weight = 255.0 - view[..., 0]
            columns, rows = np.meshgrid(np.arange(64) + 0.5, np.arange(64) + 0.5)
            step = mpp / 0.5  # level-0 px per view px
            off = (
                ((weight * columns).sum() / weight.sum() - 32) * step,
                ((weight * rows).sum() / weight.sum() - 32) * step,
            )
            assert max(map(abs, off)) < 1, f"{off} level-0 px off at {mpp} µm/px"
            if mpp >= 1.5:  # the whole disc is in view
                assert weight.sum() * step**2 == pytest.approx(200 * np.pi * 60**2, rel=0.01)


@pytest.fixture(scope="module")
def slide(tmp_path_factory):
    path = tmp_path_factory.mktemp("reader") / "ramp.tif"
    write_slide(path, ramp(WIDTH, HEIGHT), mpp=0.5)
    return path


def test_outside_is_glass_and_marked(slide):
    with SlideReader(slide) as reader:
        image, inside = reader.read((0.0, 0.0), 0.5, 64)
        assert not inside[:32].any() and not inside[:, :32].any() and inside[32:, 32:].all()
        assert (image[:32] == reader.glass).all()


def test_missing_mpp_is_asked_for_and_a_given_one_is_used(tmp_path):
    path = tmp_path / "no_mpp.tif"
    write_slide(path, ramp(300, 300), mpp=None)
    with pytest.raises(UserError, match="mpp"):
        SlideReader(path)
    with SlideReader(path, mpp_given=0.3) as reader:
        assert reader.mpp == (0.3, 0.3)


def test_not_a_slide(tmp_path):
    path = tmp_path / "zero.svs"
    path.touch()
    with pytest.raises(UserError, match="cannot be opened"):
        SlideReader(path)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.integers(0, 3))
def test_halving_by_opencv_gives_pillows_bytes(seed, width, height, corner):
    image = np.random.default_rng(seed).integers(0, 256, (2 * height + corner, 2 * width + corner, 3), np.uint8)
    part = image[corner:, corner:]
    halved = _resample(image, (corner, corner, corner + 2 * width, corner + 2 * height), (width, height))
    assert np.array_equal(halved, np.asarray(Image.fromarray(np.ascontiguousarray(part)).reduce(2)))
