"""QuPath's GeoJSON in all its versions."""

import json

import pytest

from mlseg_core.errors import UserError
from shards.annotation import AnnotationFile
from tests.shards.annotation.files_for_tests import (
    CONFIG,
    DCIS,
    NONE,
    STROMA,
    TUMOUR,
    areas,
    feature,
    geojson,
    opened,
    square,
    whole,
    write,
)


def test_holes_overlaps_and_strength(tmp_path):
    text = geojson(
        feature("Tumor", square(40, 40, 60, 60)),  # stronger, though listed first
        feature("Stroma", square(20, 20, 80, 80), square(64, 64, 76, 76)),
    )
    annotation = opened(write(tmp_path, text))
    label = whole(annotation)
    assert label[50, 50] == TUMOUR and label[30, 30] == STROMA and label[70, 70] == NONE and label[10, 10] == NONE
    assert areas(annotation) == {TUMOUR: 400, STROMA: 3600 - 400 - 144}
    assert annotation.bounds == (20, 20, 80, 80) and annotation.fine == {STROMA, TUMOUR}


def test_a_hole_shows_what_lies_below(tmp_path):
    text = geojson(
        feature("Stroma", square(0, 0, 50, 50)), feature("Tumor", square(10, 10, 40, 40), square(20, 20, 30, 30))
    )
    assert areas(opened(write(tmp_path, text))) == {STROMA: 2500 - 800, TUMOUR: 800}


def test_overlapping_holes_stay_holes(tmp_path):
    rings = [square(0, 0, 50, 50), square(10, 10, 30, 30), square(20, 20, 40, 40)]
    assert areas(opened(write(tmp_path, geojson(feature("Tumor", *rings))))) == {TUMOUR: 2500 - 700}


MULTI = {
    "type": "MultiPolygon",
    "coordinates": [[[*square(0, 0, 10, 10), (0, 0)]], [[*square(20, 20, 30, 30), (20, 20)]]],
}
COLLECTION = {
    "type": "GeometryCollection",
    "geometries": [MULTI, {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 1]}]}],
}
Z = {
    "type": "Polygon",
    "coordinates": [[[x, y, 3] for x, y in square(0, 0, 10, 20)]],
    "plane": {"c": -1, "z": 3, "t": 0},
}


@pytest.mark.parametrize(
    ("geometry", "area", "ignored"), [(MULTI, 200, {}), (COLLECTION, 200, {"Point": 1}), (Z, 200, {})]
)
def test_geometries(tmp_path, geometry, area, ignored):
    one = {
        "type": "Feature",
        "geometry": geometry,
        "properties": {"classification": {"name": "DCIS", "color": [1, 2, 3]}},
    }
    annotation = opened(write(tmp_path, json.dumps(one)))
    assert areas(annotation) == {DCIS: area} and annotation.ignored == ignored


ONE = feature("Tumor", square(0, 0, 10, 10))


@pytest.mark.parametrize("content", [[ONE], {"type": "FeatureCollection", "features": [ONE]}, ONE, {"features": [ONE]}])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("packed", [False, True])
def test_containers_encodings_and_gzip(tmp_path, content, encoding, packed):
    path = write(tmp_path, json.dumps(content).encode(encoding), packed=packed)
    assert areas(opened(path)) == {TUMOUR: 100}


@pytest.mark.parametrize(
    ("properties", "name"),
    [
        ({"classification": {"name": "Tumor", "colorRGB": -3670016}, "isLocked": False, "measurements": []}, "Tumor"),
        ({"classification": {"names": ["Tumor", "Positive"], "color": [1, 2, 3]}}, "Tumor: Positive"),
        ({"classification": "Tumor", "name": "the big one"}, "Tumor"),
        ({"name": "UT", "color": [255, 0, 0]}, "UT"),
        ({}, "(no class)"),
        (None, "(no class)"),
        ({"classification": None, "objectType": "annotation"}, "(no class)"),
        ({"classification": {"name": "<b>Å\nß</b>"}}, "<b>Å\nß</b>"),
        ({"classification": {"name": "Tumor"}, "objectType": "cell"}, "Tumor"),
    ],
)
def test_names(tmp_path, properties, name):
    assert AnnotationFile(write(tmp_path, json.dumps([{**ONE, "properties": properties}]))).names == {name}


def test_unclassified_detections_are_counted_only(tmp_path):
    new = feature(None, square(0, 0, 5, 5), objectType="cell")
    old = {
        "type": "Feature",
        "id": "PathDetectionObject",
        "geometry": ONE["geometry"],
        "properties": {"isLocked": False},
    }
    annotation = opened(write(tmp_path, geojson(ONE, new, old)))
    assert areas(annotation) == {TUMOUR: 100} and annotation.ignored == {"detection without a class": 2}


def test_degenerate_rings_are_counted(tmp_path):
    flat = [(0, 0), (5, 5), (0, 0), (5, 5), (5, 5)]
    line = [(0, 3), (9, 3), (4, 3)]
    text = geojson(
        ONE, feature("DCIS", flat[:2]), feature("DCIS", line), feature("Tumor", square(50, 50, 60, 60), [(52, 52)])
    )
    annotation = opened(write(tmp_path, text))
    assert areas(annotation) == {TUMOUR: 200} and annotation.ignored == {"ring without area": 3}


def test_nothing_annotated(tmp_path):
    annotation = opened(write(tmp_path, geojson()))
    assert annotation.bounds is None and annotation.fine == frozenset() and annotation.outlines(1.0) == []
    assert areas(annotation) == {}


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "[1]",
        "null",
        '{"features": 3}',
        '{"features": [{"properties": {"classification": {"name": "Tumor"}}}]}',
        '[{"geometry": 5}]',
        '[{"geometry": "Polygon"}]',
        '[{"geometry": {"type": "Polygon"}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[["1", "2"], ["3", "4"], ["5", "6"]]]}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[1, 2], [3], [4, 5]]]}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[true, false], [false, true], [true, true]]]}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [NaN, 1], [4, 5]]]}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [Infinity, 1], [4, 5]]]}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1e300, 1], [4, 5]]]}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [%s, 1], [4, 5]]]}}]' % ("9" * 400),
        '[{"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [%s, 1], [4, 5]]]}}]' % ("9" * 5000),
        '[{"geometry": {"type": "Curve", "coordinates": []}}]',
        '[{"geometry": {"type": ["Polygon"], "coordinates": []}}]',
        '[{"geometry": {"type": "Polygon", "coordinates": {"a": 1}}}]',
        "[" * 100_000,
        '{"a":' * 100_000,
        geojson(ONE)[:-30],
    ],
)
def test_damage_is_one_line_that_names_the_file(tmp_path, text):
    with pytest.raises(UserError, match=r"a\.annotation: ") as caught:
        opened(write(tmp_path, text))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 400


def test_config_is_used_as_it_stands(tmp_path):
    """Fine ids follow the config's list."""
    other = CONFIG.model_copy(update={"fine_classes": ("dcis", "tumour", "stroma")})
    assert areas(opened(write(tmp_path, geojson(feature("Stroma", square(0, 0, 10, 10)))), other)) == {2: 100}
