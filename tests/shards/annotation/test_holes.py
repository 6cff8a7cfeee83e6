"""Holes drawn as annotations of their own are cut from the right region."""

from tests.shards.annotation.files_for_tests import CONFIG, DCIS, STROMA, TUMOUR, areas, asap, opened, square, write


def drawn(tmp_path, *annotations):
    return opened(write(tmp_path, asap(*(("Polygon", name, points) for name, points in annotations))))


def test_the_smallest_region_is_cut_and_what_lies_below_shows(tmp_path):
    found = drawn(
        tmp_path,
        ("Stroma", square(0, 0, 100, 100)),
        ("DCIS", square(20, 20, 60, 60)),
        ("negative", square(30, 30, 40, 40)),
    )
    assert areas(found) == {DCIS: 1600 - 100, STROMA: 10_000 - 1500}


def test_over_the_edge_by_a_little_is_still_the_small_region_s(tmp_path):
    found = drawn(
        tmp_path,
        ("Stroma", square(0, 0, 100, 100)),
        ("DCIS", square(20, 20, 60, 60)),
        ("negative", square(50, 30, 64, 40)),
    )
    assert areas(found) == {DCIS: 1600 - 100, STROMA: 10_000 - 1500}


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


def test_another_region_covers_a_hole_in_an_equal_one(tmp_path):
    """Two overlapping regions of a class, a hole in the smaller: the larger still labels it."""
    found = drawn(
        tmp_path, ("Tumor", square(0, 0, 90, 90)), ("Tumor", square(0, 0, 50, 50)), ("negative", square(10, 10, 20, 20))
    )
    assert areas(found) == {TUMOUR: 8100}


def test_strength_does_not_decide_which_region_is_cut(tmp_path):
    weak_inside = CONFIG.model_copy(update={"priority": ("dcis", "stroma")})
    text = asap(
        ("Polygon", "Stroma", square(0, 0, 90, 90)),
        ("Polygon", "DCIS", square(20, 20, 60, 60)),
        ("Polygon", "negative", square(30, 30, 40, 40)),
    )
    assert areas(opened(write(tmp_path, text), weak_inside)) == {STROMA: 8100}
