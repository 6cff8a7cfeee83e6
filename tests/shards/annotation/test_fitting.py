"""Which image a label mask covers: level 0 or the bounds, at a scale that tools export at, or neither."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mlseg_core.errors import UserError
from shards.annotation.fitting import fit_mask
from shards.annotation.origin import Frame
from shards.cutting.corrections import label_corrections
from tests.shards.annotation.files_for_tests import CONFIG, NONE, STROMA, TUMOUR, opened, whole

SLIDE = (22_200, 29_670)
BOUNDS = (2000, 1500, 12_000, 18_000)


@pytest.mark.parametrize(
    ("mask", "size", "levels"),
    [
        (SLIDE, SLIDE, ()),
        ((11_100, 14_835), SLIDE, ()),
        ((1387, 1854), SLIDE, ()),  # a 16th, rounded down
        ((1388, 1855), SLIDE, ()),  # rounded up
        ((693, 927), SLIDE, ()),  # a 32nd: halved again and again
        ((44_400, 59_340), SLIDE, ()),  # drawn at twice the slide's resolution
        ((2220, 2967), SLIDE, ()),  # a tenth
        ((3171, 4239), SLIDE, ()),  # a seventh
        ((5059, 6761), SLIDE, ()),  # 1 µm/px of a slide of 0.2279 µm/px
        ((3333, 4455), SLIDE, ((22_200, 29_670), (3333, 4455))),  # a level of the slide, at 6.66
        ((60, 45), (967, 720), ()),
    ],
)
def test_scales_that_tools_export_at(tmp_path, mask, size, levels):
    found = fit_mask(mask, Frame(size, (0.2279, 0.2279), levels=levels), tmp_path)
    assert found.placement.origin == "level0" and found.placement.offset == (0, 0)
    assert found.scale == (size[0] / mask[0], size[1] / mask[1])


@pytest.mark.parametrize(
    "mask",
    [
        (3333, 4455),  # 6.66: no level of this slide
        (300, 401),  # 74: every size would be a whole number there
        (1500, 2005),  # 14.8
        (2966, 2220),  # turned
    ],
)
def test_masks_of_other_images_are_refused_not_stretched(tmp_path, mask):
    with pytest.raises(UserError, match=f"the mask is {mask[0]} × {mask[1]} px, which is") as caught:
        fit_mask(mask, Frame(SLIDE, (0.2279, 0.2279)), tmp_path)
    assert "Name the mask of this slide" in str(caught.value) and "\n" not in str(caught.value)


def test_few_masks_of_other_slides_of_the_same_shape_fit_by_chance(tmp_path):
    """The aspect ratio is right in all of them; at most a quarter may slip through."""
    frame, fits, tried = Frame(SLIDE, (0.2279, 0.2279)), 0, 0
    for width in range(400, 6000, 7):
        tried += 1
        try:
            fit_mask((width, round(width * SLIDE[1] / SLIDE[0])), frame, tmp_path)
            fits += 1
        except UserError:
            pass
    print(fits, tried)
    assert fits < tried / 4


def test_a_mask_of_the_bounds_is_told_by_its_size(tmp_path):
    frame = Frame(SLIDE, (0.25, 0.25), BOUNDS)
    found = fit_mask((3000, 4500), frame, tmp_path)
    assert (found.placement.origin, found.placement.offset, found.scale) == ("bounds", (2000, 1500), (4, 4))
    assert fit_mask((5550, 7418), frame, tmp_path).placement.origin == "level0"
    with pytest.raises(UserError, match="not the shape of the slide, 22200 × 29670 nor of its bounds, 12000 × 18000"):
        fit_mask((3000, 3000), frame, tmp_path)
    with pytest.raises(UserError, match="not the shape of the slide"):
        fit_mask((3000, 4500), Frame(SLIDE, (0.25, 0.25), BOUNDS, origin="level0"), tmp_path)


def test_a_mask_that_fits_both_is_refused_until_the_table_says_which(tmp_path):
    bounds = (100, 200, 1000, 800)
    with pytest.raises(UserError, match=r"fits both level 0 \(2000 × 1600 px\) and the scanned bounds .*column origin"):
        fit_mask((500, 400), Frame((2000, 1600), (0.5, 0.5), bounds), tmp_path)
    for origin, offset, scale in (("level0", (0, 0), 4), ("bounds", (100, 200), 2)):
        found = fit_mask((500, 400), Frame((2000, 1600), (0.5, 0.5), bounds, origin=origin), tmp_path)
        assert found.placement.offset == offset and found.scale == (scale, scale) and found.placement.stated


def test_bounds_that_are_all_of_level_0_are_no_second_image(tmp_path):
    found = fit_mask((500, 400), Frame((2000, 1600), (0.5, 0.5), (0, 0, 2000, 1600)), tmp_path)
    assert found.placement.origin == "level0"


def test_every_pixel_of_a_mask_of_the_bounds(tmp_path):
    values = np.zeros((20, 15), np.uint8)
    values[2:6, 3:9], values[10:20, 10:15] = 1, 2
    Image.fromarray(values).save(tmp_path / "mask.png")
    fine = np.select([values == 1, values == 2], [STROMA, TUMOUR], NONE)
    expected = np.full((100, 100), NONE)
    expected[20:60, 40:70] = np.kron(fine, np.ones((2, 2), int))
    found = opened(tmp_path / "mask.png", bounds=(40, 20, 30, 40))
    assert np.array_equal(whole(found), expected)
    assert found.bounds == (46, 24, 70, 60)
    low = np.min([ring.min(axis=0) for _, ring in found.outlines(2.0)], axis=0)
    assert np.abs(low - (46, 24)).max() <= 2
    other = opened(tmp_path / "mask.png", size=(150, 200), bounds=(41, 20, 30, 40), origin="bounds")
    assert other.digest != found.digest
    frame = Frame((100, 100), (0.5, 0.5), (40, 20, 30, 40))
    assert label_corrections(tmp_path / "mask.png", CONFIG, frame) == (
        "its annotation is counted from the scanned bounds at (40, 20) now, not from level 0",
    )


def test_where_the_table_says_what_a_mask_covers_any_scale_will_do(tmp_path):
    frame = Frame((4000, 3000), (0.5, 0.5))
    with pytest.raises(UserError, match="say level0 in column origin"):
        fit_mask((1111, 833), frame, tmp_path)
    stated = replace(frame, origin="level0")
    assert fit_mask((1111, 833), stated, tmp_path).scale == pytest.approx((3.6, 3.6), rel=1e-3)
    with pytest.raises(UserError, match="not the shape"):
        fit_mask((1111, 900), stated, tmp_path)
