"""Annotations of z-stacks: one plane's shapes are used, the others are counted, never merged."""

import pytest

from mlseg_core.errors import UserError
from shards.annotation import AnnotationFile
from shards.annotation.origin import Frame
from shards.config import IGNORED
from shards.cutting.corrections import label_corrections
from tests.shards.annotation.files_for_tests import CONFIG, DCIS, TUMOUR, areas, feature, geojson, opened, square, write

FRAME = Frame((100, 100), (0.5, 0.5))


def on(plane: object, name: str = "Tumor", left: int = 0, place: str = "geometry") -> dict:
    """A square of 100 px² on a plane."""
    made = feature(name, square(left, 0, left + 10, 10))
    holder = made if place == "feature" else made[place]
    holder["plane"] = plane
    return made


@pytest.mark.parametrize("place", ["geometry", "feature", "properties"])
def test_shapes_on_other_planes_are_counted_not_merged(tmp_path, place):
    drawn = [
        feature("Tumor", square(50, 50, 60, 60)),
        on({"c": -1, "z": 3, "t": 0}, "DCIS", 0, place),
        on({"c": -1, "z": 3, "t": 0}, "DCIS", 20, place),
        on({"c": -1, "z": 0, "t": 2}, "DCIS", 40, place),
    ]
    path = write(tmp_path, geojson(*drawn))
    found = opened(path)
    assert areas(found) == {TUMOUR: 100} and found.placement.plane == (0, 0)
    assert found.ignored == {"on another z plane (z 3)": 2, "at another time point (z 0, t 2)": 1}
    assert label_corrections(path, CONFIG, FRAME) == ("its shapes on other planes (3) are left out now, not merged",)
    assert AnnotationFile(path).names == {"Tumor", "DCIS"}, "what a slide's shards depend on stays as it was"


def test_all_on_one_other_plane_are_used(tmp_path):
    """What is tumour at one focus of a section is tumour at any."""
    path = write(tmp_path, geojson(on({"c": -1, "z": 3, "t": 0}), on({"c": -1, "z": 3, "t": 0}, "DCIS", 20)))
    found = opened(path)
    assert areas(found) == {TUMOUR: 100, DCIS: 100} and not found.ignored and found.placement.plane == (3, 0)
    assert label_corrections(path, CONFIG, FRAME) == ()


def test_several_planes_without_the_first_are_refused(tmp_path):
    path = write(tmp_path, geojson(on({"z": 2}), on({"z": 4}, left=20), on({"z": 4}, left=40)))
    with pytest.raises(UserError, match=r"none of them the first: z 2 \(1\), z 4 \(2\)\. .*one focal plane"):
        opened(path)


def test_ignored_classes_have_no_say(tmp_path):
    config = CONFIG.model_copy(update={"annotation_classes": {**CONFIG.annotation_classes, "ROI": IGNORED}})
    path = write(tmp_path, geojson(feature("ROI", square(0, 0, 90, 90)), on({"z": 3})))
    found = opened(path, config)
    assert areas(found) == {TUMOUR: 100} and found.ignored == {"ROI": 1} and found.placement.plane == (3, 0)


@pytest.mark.parametrize("plane", [None, {}, {"c": 1, "z": 0, "t": 0}, {"c": -1, "z": -1, "t": None}, {"z": 0.0}])
def test_channels_and_the_default_plane_are_the_first_plane(tmp_path, plane):
    found = opened(write(tmp_path, geojson(feature("DCIS", square(50, 50, 60, 60)), on(plane))))
    assert areas(found) == {TUMOUR: 100, DCIS: 100} and not found.ignored


@pytest.mark.parametrize("plane", [3, "z", [0], {"z": "3"}, {"z": True}, {"z": 1.5}, {"t": float("nan")}, {"z": 1e300}])
def test_damaged_planes_are_one_line(tmp_path, plane):
    with pytest.raises(UserError, match="the plane of feature 1 is damaged"):
        opened(write(tmp_path, geojson(on(plane))))
