"""Annotations become labels at the right place; what nobody mapped is an error that lists the names."""

import json

import numpy as np
import pytest

from mlseg_core.errors import UserError
from shards.annotation import UNLABELLED, rasterise, read_geojson
from tests.shards.slides_for_tests import shards_config, square_feature, write_annotation

CONFIG = shards_config()
IDS = {name: number for number, name in enumerate(CONFIG.fine_classes)}


def test_label_geometry_holes_and_strength(tmp_path):
    path = tmp_path / "a.geojson"
    write_annotation(
        path,
        square_feature("Tumor", 40, 40, 60, 60),  # stronger, though listed first
        square_feature("Stroma", 20, 20, 80, 80, hole=(64, 64, 76, 76)),
    )
    label = rasterise(read_geojson(path, CONFIG), (50.0, 50.0), (1.0, 1.0), (100, 100))
    assert label[50, 50] == IDS["tumour"] and label[30, 30] == IDS["stroma"]
    assert label[70, 70] == UNLABELLED and label[10, 10] == UNLABELLED
    assert abs(int((label == IDS["tumour"]).sum()) - 400) <= 44  # a pixel along the edge
    half = rasterise(read_geojson(path, CONFIG), (50.0, 50.0), (0.5, 0.5), (100, 100))
    rows = np.flatnonzero((half == IDS["tumour"]).any(axis=1))
    assert (rows[0] + rows[-1]) / 2 == pytest.approx(49.5, abs=1)


def test_bare_list_and_multipolygon(tmp_path):
    feature = square_feature("DCIS", 0, 0, 10, 10)
    other = square_feature("DCIS", 20, 20, 30, 30)
    feature["geometry"] = {
        "type": "MultiPolygon",
        "coordinates": [feature["geometry"]["coordinates"], other["geometry"]["coordinates"]],
    }
    path = tmp_path / "a.geojson"
    path.write_text(json.dumps([feature]))
    assert [region.fine for region in read_geojson(path, CONFIG)] == [IDS["dcis"]] * 2


def test_unmapped_classes_are_listed(tmp_path):
    path = tmp_path / "a.geojson"
    write_annotation(path, square_feature("Zebra", 0, 0, 1, 1), square_feature("Aardvark", 0, 0, 1, 1))
    with pytest.raises(UserError) as caught:
        read_geojson(path, CONFIG)
    assert "Aardvark, Zebra" in str(caught.value) and "configs/classes" in str(caught.value)


@pytest.mark.parametrize(
    "text", ["", "{}", '{"features": [{"properties": {"classification": {"name": "Tumor"}}}]}', "[1"]
)
def test_damaged_files_are_user_errors(tmp_path, text):
    path = tmp_path / "a.geojson"
    path.write_text(text)
    with pytest.raises(UserError, match=r"a\.geojson"):
        read_geojson(path, CONFIG)
