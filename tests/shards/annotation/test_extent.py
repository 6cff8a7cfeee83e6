"""How much of an annotation lies off the slide: by area, and by region."""

import pytest

from shards.annotation.extent import OffSlide
from tests.shards.annotation.files_for_tests import (
    STROMA,
    TUMOUR,
    aperio,
    areas,
    feature,
    geojson,
    opened,
    square,
    write,
)

SLIDE = (0.0, 0.0, 100.0, 100.0)


def test_by_area_and_by_region(tmp_path):
    drawn = [
        feature("Tumor", square(0, 0, 100, 30)),  # 3000 px², on the slide
        feature("DCIS", square(90, 50, 110, 60)),  # 200 px², half of it off
        feature("DCIS", square(-30, 80, 10, 90)),  # 400 px², three quarters off
        feature("Stroma", square(200, 0, 210, 10)),  # 100 px², off
    ]
    found = opened(write(tmp_path, geojson(*drawn))).off(SLIDE)
    assert found.share == pytest.approx((100 + 300 + 100) / 3700, abs=1e-3)
    assert (found.regions, found.mostly) == (4, 2)


def test_holes_are_not_area(tmp_path):
    """The part on the slide is a hole: 1600 px² of 2000 - 400."""
    text = geojson(
        feature("Tumor", square(80, 0, 180, 20), square(80, 0, 100, 20)), feature("Stroma", square(0, 0, 80, 100))
    )
    found = opened(write(tmp_path, text)).off(SLIDE)
    assert found.share == pytest.approx(1600 / 9600, abs=2e-3) and found.mostly == 1
    cut = aperio(("Tumor", [("0", "0", square(80, 0, 180, 20)), ("0", "1", square(100, 0, 180, 20))]))
    annotation = opened(write(tmp_path, cut))
    assert annotation.off(SLIDE).share == pytest.approx(0, abs=1e-3) and areas(annotation) == {TUMOUR: 400}


def test_on_the_border_is_on_the_slide(tmp_path):
    annotation = opened(write(tmp_path, geojson(feature("Stroma", square(0, 0, 100, 100)))))
    assert annotation.off(SLIDE) == OffSlide(0.0, 1, 0) and areas(annotation) == {STROMA: 10_000}


def test_a_ring_that_crosses_itself_and_no_rings_at_all(tmp_path):
    bow = [(90, 10), (102, 30), (102, 10), (90, 30)]
    found = opened(write(tmp_path, geojson(feature("Tumor", bow)))).off(SLIDE)
    assert found.share == pytest.approx(100 / 3 / 120, abs=2e-3)
    assert opened(write(tmp_path, geojson())).off(SLIDE) == OffSlide()
