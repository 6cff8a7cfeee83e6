"""What people exclude is stronger than every class, in all formats; `ignored` is as if it were not drawn."""

import runpy

import numpy as np
import pytest
import tifffile
from PIL import Image

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from shards.annotation import EXCLUDED_PX, UNLABELLED
from shards.config import ShardsConfig
from tests.shards.annotation.files_for_tests import (
    CONFIG,
    DCIS,
    STROMA,
    TUMOUR,
    aperio,
    areas,
    asap,
    feature,
    geojson,
    opened,
    square,
    whole,
    write,
)
from tests.shards.slides_for_tests import ROOT

WITH = CONFIG.model_copy(
    update={
        "annotation_classes": {**CONFIG.annotation_classes, "Exclude": "excluded", "Skip": "ignored"},
        "mask_classes": {**CONFIG.mask_classes, "9": "Exclude"},
    }
)
FORMATS = {
    "geojson": lambda *drawn: geojson(*(feature(name, ring) for name, ring in drawn)),
    "asap": lambda *drawn: asap(*(("Polygon", name, ring) for name, ring in drawn)),
    "aperio": lambda *drawn: aperio(*((name, [("0", "0", ring)]) for name, ring in drawn)),
}
TUMOR, EXCLUDE = ("Tumor", square(10, 10, 60, 60)), ("Exclude", square(30, 30, 80, 80))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("order", [(TUMOR, EXCLUDE), (EXCLUDE, TUMOR)], ids=["last", "first"])
def test_excluded_beats_every_class_wherever_it_is_drawn(tmp_path, form, order):
    found = opened(write(tmp_path, FORMATS[form](*order)), WITH)
    assert areas(found) == {TUMOUR: 2500 - 900, EXCLUDED_PX: 2500}
    assert found.fine == {TUMOUR} and found.bounds == (10, 10, 60, 60)
    assert {number for number, _ in found.outlines(1.0)} == {TUMOUR, EXCLUDED_PX}


@pytest.mark.parametrize("form", FORMATS)
def test_ignored_is_as_if_it_were_not_drawn(tmp_path, form):
    found = opened(write(tmp_path, FORMATS[form](TUMOR, ("Skip", square(30, 30, 80, 80)))), WITH)
    assert areas(found) == {TUMOUR: 2500} and found.ignored == {"Skip": 1}


def test_excluded_alone_is_no_class(tmp_path):
    found = opened(write(tmp_path, FORMATS["geojson"](EXCLUDE)), WITH)
    assert areas(found) == {EXCLUDED_PX: 2500} and not found.fine and found.bounds is None


def test_excluded_may_reach_far_over_the_edge(tmp_path):
    found = opened(write(tmp_path, FORMATS["geojson"](TUMOR, ("Exclude", square(-5000, -5000, 5000, 20)))), WITH)
    assert areas(found) == {TUMOUR: 2500 - 500, EXCLUDED_PX: 2000} and found.off((0, 0, 100, 100)).share == 0


def test_the_digest_tells_excluded_from_a_class_and_from_nothing(tmp_path):
    path = write(tmp_path, FORMATS["geojson"](TUMOR, EXCLUDE))
    maps = [{**WITH.annotation_classes, "Exclude": target} for target in ("excluded", "ignored", "dcis")]
    digests = {opened(path, WITH.model_copy(update={"annotation_classes": one})).digest for one in maps}
    assert len(digests) == 3


def test_holes_and_what_is_excluded(tmp_path):
    """A hole in a tumour that lies in an excluded region leaves that excluded; one in the excluded region itself opens it."""
    inside = FORMATS["asap"](
        ("Exclude", square(0, 0, 90, 90)), ("Tumor", square(20, 20, 60, 60)), ("negative", square(30, 30, 40, 40))
    )
    assert areas(opened(write(tmp_path, inside), WITH)) == {EXCLUDED_PX: 8100}
    itself = FORMATS["asap"](
        ("Tumor", square(0, 0, 90, 90)), ("Exclude", square(20, 20, 60, 60)), ("negative", square(30, 30, 40, 40))
    )
    assert areas(opened(write(tmp_path, itself), WITH)) == {TUMOUR: 8100 - 1600, EXCLUDED_PX: 1500}
    ring = geojson(
        feature("Tumor", square(0, 0, 90, 90)), feature("Exclude", square(20, 20, 60, 60), square(30, 30, 40, 40))
    )
    assert areas(opened(write(tmp_path, ring), WITH)) == {TUMOUR: 8100 - 1500, EXCLUDED_PX: 1500}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.int32, np.uint32, np.int64])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_masks_of_any_whole_numbers(tmp_path, dtype, byteorder):
    values = np.zeros((100, 100), dtype)
    values[10:60, 10:60], values[30:80, 30:80], values[90:, 90:] = 2, 9, 7
    path = tmp_path / "m.tif"
    tifffile.imwrite(path, values, tile=(32, 32), byteorder=byteorder, metadata=None, photometric="minisblack")
    found = opened(path, WITH)
    assert areas(found) == {TUMOUR: 2500 - 900, EXCLUDED_PX: 2500, DCIS: 100}
    assert found.fine == {TUMOUR, DCIS} and found.bounds == (10, 10, 100, 100)
    assert {number for number, _ in found.outlines(1.0)} == {TUMOUR, DCIS, EXCLUDED_PX}


def test_a_mask_with_values_below_0_says_so(tmp_path):
    values = np.full((100, 100), -1, np.int32)
    tifffile.imwrite(tmp_path / "m.tif", values, metadata=None, photometric="minisblack")
    with pytest.raises(UserError, match=r"holds values outside 0 to 65535 \(-1 to -1\)"):
        opened(tmp_path / "m.tif", WITH)


def test_a_mask_of_what_is_excluded_alone(tmp_path):
    values = np.zeros((100, 100), np.uint8)
    values[:50] = 9
    Image.fromarray(values).save(tmp_path / "m.png")
    found = opened(tmp_path / "m.png", WITH)
    assert areas(found) == {EXCLUDED_PX: 5000} and not found.fine and found.bounds is None
    assert (whole(found)[50:] == UNLABELLED).all()


def test_excluded_is_no_name_for_a_class():
    raw = {"fine_classes": ["tumour", "excluded"], "annotation_classes": {"T": "tumour", "X": "excluded"}}
    with pytest.raises(UserError, match="rename the fine class"):
        validate(raw, ShardsConfig, "test")
    assert validate({**raw, "annotation_classes": {"T": "tumour"}}, ShardsConfig, "test").fine_classes[1] == "excluded"


def old(name, parent=None, kind="PathAnnotationObject"):
    label = {"name": name, "colorRGB": -1} | ({"parentClass": parent} if parent else {})
    coordinates = [[list(point) for point in [*square(10, 10, 20, 20), (10, 10)]]]
    properties = {"classification": label} if name else {"name": "A-1", "isMissing": False}
    return {
        "type": "Feature",
        "id": kind,
        "geometry": {"type": "Polygon", "coordinates": coordinates},
        "properties": properties,
    }


def test_classes_of_old_qupath_versions_have_parents(tmp_path):
    names = {"Tumor: Positive": "tumour", "Tumor: Positive: 3+": "dcis", "Tumor": "stroma"}
    config = CONFIG.model_copy(update={"annotation_classes": names})
    tumor, positive = {"name": "Tumor"}, {"name": "Positive", "parentClass": {"name": "Tumor"}}
    for label, expected in (
        (old("Positive", tumor), TUMOUR),
        (old("3+", positive), DCIS),
        (old("Tumor"), STROMA),
        (old("Tumor: Positive", tumor), TUMOUR),
    ):
        assert areas(opened(write(tmp_path, geojson(label)), config)) == {expected: 100}


@pytest.mark.parametrize("kind", ["TMACoreObject", "PathTMACoreObject"])
def test_cores_of_a_tma_are_no_classes(tmp_path, kind):
    found = opened(write(tmp_path, geojson(old(None, kind=kind), old("Tumor"))))
    assert areas(found) == {TUMOUR: 100} and found.ignored == {"detection without a class": 1}


def test_the_picture_in_the_docs_is_what_the_code_does():
    picture = runpy.run_path(str(ROOT / "docs/annotation_picture.py"))["picture"]
    assert (ROOT / "docs/annotations.svg").read_text() == picture(), "python docs/annotation_picture.py"
