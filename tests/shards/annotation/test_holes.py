"""Holes drawn as annotations of their own are cut from the right regions: nothing opens what lies around them."""

from shards.annotation import AnnotationFile, Frame
from shards.cutting.corrections import label_corrections
from shards.cutting.inputs import BEFORE, slide_inputs
from shards.slide_table import Slide
from tests.shards.annotation.files_for_tests import (
    CONFIG,
    DCIS,
    STROMA,
    TUMOUR,
    areas,
    asap,
    feature,
    geojson,
    opened,
    square,
    write,
)


def drawn(tmp_path, *annotations):
    return opened(write(tmp_path, asap(*(("Polygon", name, points) for name, points in annotations))))


def test_every_region_around_a_hole_is_cut(tmp_path):
    found = drawn(
        tmp_path,
        ("Stroma", square(0, 0, 100, 100)),
        ("DCIS", square(20, 20, 60, 60)),
        ("negative", square(30, 30, 40, 40)),
    )
    assert areas(found) == {DCIS: 1600 - 100, STROMA: 10_000 - 1600}


def test_over_the_edge_by_a_little_is_still_around_it(tmp_path):
    found = drawn(
        tmp_path,
        ("Stroma", square(0, 0, 100, 100)),
        ("DCIS", square(20, 20, 60, 60)),
        ("negative", square(50, 30, 64, 40)),
    )
    assert areas(found) == {DCIS: 1600 - 100, STROMA: 10_000 - 1600 - 40}


def test_a_hole_across_two_regions_is_cut_from_both(tmp_path):
    found = drawn(
        tmp_path,
        ("Tumor", square(0, 0, 30, 50)),
        ("Tumor", square(50, 0, 80, 50)),
        ("negative", square(20, 10, 60, 20)),
    )
    assert areas(found) == {TUMOUR: 1500 - 100 + 1500 - 100}


def test_a_hole_in_no_region_is_counted(tmp_path):
    found = drawn(tmp_path, ("Tumor", square(0, 0, 10, 10)), ("negative", square(50, 50, 60, 60)))
    assert areas(found) == {TUMOUR: 100} and found.ignored == {"hole in no region": 1}


def test_holes_alone(tmp_path):
    found = drawn(tmp_path, ("negative", square(50, 50, 60, 60)))
    assert found.bounds is None and found.ignored == {"hole in no region": 1}


def test_a_hole_is_cut_from_equal_regions_too(tmp_path):
    """Two overlapping regions of a class, a hole in the smaller: it is cut from the larger too."""
    found = drawn(
        tmp_path, ("Tumor", square(0, 0, 90, 90)), ("Tumor", square(0, 0, 50, 50)), ("negative", square(10, 10, 20, 20))
    )
    assert areas(found) == {TUMOUR: 8100 - 100}


def test_strength_does_not_decide_which_regions_are_cut(tmp_path):
    weak_inside = CONFIG.model_copy(update={"priority": ("dcis", "stroma")})
    text = asap(
        ("Polygon", "Stroma", square(0, 0, 90, 90)),
        ("Polygon", "DCIS", square(20, 20, 60, 60)),
        ("Polygon", "negative", square(30, 30, 40, 40)),
    )
    assert areas(opened(write(tmp_path, text), weak_inside)) == {STROMA: 8100 - 100}


def test_a_region_in_a_hole_stays(tmp_path):
    found = drawn(
        tmp_path,
        ("Stroma", square(0, 0, 100, 100)),
        ("Tumor", square(10, 10, 90, 90)),
        ("negative", square(20, 20, 80, 80)),
        ("DCIS", square(40, 40, 50, 50)),
    )
    assert areas(found) == {TUMOUR: 6400 - 3600, DCIS: 100, STROMA: 10_000 - 6400}


def test_the_hole_of_a_polygon_is_no_hole_in_what_lies_below(tmp_path):
    """An inner ring says where one region is not; the region below it is a statement of its own."""
    text = geojson(
        feature("Stroma", square(0, 0, 100, 100)), feature("Tumor", square(20, 20, 60, 60), square(30, 30, 40, 40))
    )
    assert areas(opened(write(tmp_path, text))) == {TUMOUR: 1500, STROMA: 8500}


def test_slides_with_nested_holes_are_cut_again_and_no_others(tmp_path):
    nested = asap(
        ("Polygon", "Stroma", square(0, 0, 90, 90)),
        ("Polygon", "DCIS", square(20, 20, 60, 60)),
        ("Polygon", "negative", square(30, 30, 40, 40)),
    )
    across = asap(
        ("Polygon", "Tumor", square(0, 0, 30, 50)),
        ("Polygon", "Tumor", square(50, 0, 80, 50)),
        ("Polygon", "negative", square(20, 10, 60, 20)),
    )
    plain = geojson(
        feature("Stroma", square(0, 0, 90, 90)), feature("Tumor", square(20, 20, 60, 60), square(30, 30, 40, 40))
    )
    slide = Slide(tmp_path / "s.tif", "P", "ER", "X", "L", "train", None, None, None)
    for text, concerned in ((nested, True), (across, False), (plain, False)):
        file = AnnotationFile(write(tmp_path, text))
        assert file.has_nested_holes(CONFIG) is concerned
        assert ("holes" in slide_inputs(CONFIG, slide, "w2:0", AnnotationFile(file.path))) is concerned
        assert "holes" not in slide_inputs(CONFIG, slide, "w2:0", AnnotationFile(file.path), BEFORE)
        assert bool(label_corrections(file.path, CONFIG, Frame((100, 100), (0.5, 0.5)))) is concerned
