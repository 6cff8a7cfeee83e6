"""Where coordinates begin: each format's own origin, the slide table's word, and a whole build of a slide with bounds."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from shards import cutting
from shards.annotation.drawing import Drawing
from shards.annotation.origin import Frame, place
from shards.cutting.corrections import label_corrections
from shards.pyramids.pyramid import scanned_bounds
from shards.reader import SlideReader
from shards.sample import MEMBERS, decode_label, decode_rgb
from shards.show.page import render
from shards.tar import ShardReader
from tests.shards.annotation.files_for_tests import (
    CONFIG,
    NONE,
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
from tests.shards.slides_for_tests import shards_config, square_feature, tissue_slide, write_annotation, write_scn

BOUNDS = (5, 4, 60, 70)
BOX = square(10, 10, 20, 30)
TEXTS = {
    "geojson": geojson(feature("Tumor", BOX)),
    "asap": asap(("Polygon", "Tumor", BOX)),
    "aperio": aperio(("Tumor", [("0", "0", BOX)])),
}


@pytest.mark.parametrize(
    ("kind", "bounds", "override", "origin", "offset"),
    [
        ("geojson", None, None, "level0", (0, 0)),
        ("geojson", None, "bounds", "level0", (0, 0)),
        ("geojson", BOUNDS, None, "bounds", (5, 4)),
        ("geojson", BOUNDS, "level0", "level0", (0, 0)),
        ("geojson", (0, 0, 60, 70), None, "bounds", (0, 0)),
        ("asap", BOUNDS, None, "level0", (0, 0)),
        ("asap", BOUNDS, "bounds", "bounds", (5, 4)),
        ("aperio", BOUNDS, None, "level0", (0, 0)),
        ("aperio", BOUNDS, "bounds", "bounds", (5, 4)),
    ],
)
def test_which_origin_holds(kind, bounds, override, origin, offset):
    found = place(kind, bounds, override)
    assert (found.origin, found.offset, found.stated) == (origin, offset, override is not None)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (("5", "4", "60", "70"), BOUNDS),
        (("0", "0", "100", "100"), (0, 0, 100, 100)),
        (("30", "20", "60", "x"), None),
        (("30", "20", "0", "70"), None),
        (("100", "20", "60", "70"), None),
        (("-1", "20", "60", "70"), None),
        (("30", "20", "60"), None),
    ],
)
def test_bounds_are_read_from_the_properties(values, expected):
    names = ("x", "y", "width", "height")
    properties = {f"openslide.bounds-{name}": value for name, value in zip(names, values, strict=False)}
    assert scanned_bounds(properties, (100, 100)) == expected
    assert scanned_bounds({}, (100, 100)) is None


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("origin", [None, "level0", "bounds"])
def test_labels_bounds_outlines_and_digest_are_moved_together(tmp_path, kind, origin):
    path = write(tmp_path, TEXTS[kind])
    plain, found = opened(path), opened(path, bounds=BOUNDS, origin=origin)
    moved = origin == "bounds" or (origin is None and kind == "geojson")
    x, y = BOUNDS[:2]
    if not moved:
        assert found.digest == plain.digest and found.bounds == (10, 10, 20, 30)
        return
    expected = np.full((100, 100), NONE)
    expected[10 + y : 30 + y, 10 + x : 20 + x] = TUMOUR
    assert np.array_equal(whole(found), expected)
    assert found.bounds == (15, 14, 25, 34) and found.digest != plain.digest
    [(_, ring)] = found.outlines(1e-6)
    assert ring.min(axis=0).tolist() == [15, 14] and ring.max(axis=0).tolist() == [25, 34]


def test_nothing_changes_on_slides_without_bounds():
    """To the last bit: the rings are the very arrays that were read."""
    drawing = Drawing("geojson")
    drawing.add("Tumor", [np.array(BOX) + 0.1])
    before = [shape.rings[0] for shape in drawing.shapes]
    drawing.move((0.0, 0.0))
    assert all(shape.rings[0] is ring for shape, ring in zip(drawing.shapes, before, strict=True))


def test_more_than_half_off_the_slide_is_refused_with_figures(tmp_path):
    half = write(tmp_path, geojson(feature("Tumor", square(-10, 10, 10, 20))))
    assert areas(opened(half)) == {TUMOUR: 100}
    most = write(tmp_path, geojson(feature("Tumor", square(-30, 10, 10, 20))))
    with pytest.raises(UserError, match=r"75% of the annotation \(x -30 to 10, y 10 to 20\) lies off the slide of 100"):
        opened(most)


def test_off_the_scanned_part_names_the_origin_and_its_column(tmp_path):
    """Coordinates of ASAP that QuPath's rule would move off, and the other way round."""
    path = write(tmp_path, geojson(feature("Tumor", square(57, 40, 65, 70))))
    with pytest.raises(UserError) as caught:
        opened(path, bounds=BOUNDS, origin="bounds")
    said = str(caught.value)
    assert "62% of the annotation (x 62 to 70, y 44 to 74) lies off the scanned part (x 5 to 65, y 4 to 74)" in said
    assert "counted from the scanned bounds at (5, 4)" in said and "column origin" in said and "\n" not in said
    assert areas(opened(path, bounds=BOUNDS, origin="level0")) == {TUMOUR: 240}


def test_corrections_name_what_is_laid_otherwise(tmp_path):
    quiet = Frame((100, 100), (0.5, 0.5))
    moved = Frame((100, 100), (0.5, 0.5), BOUNDS)
    for kind, text in TEXTS.items():
        path = write(tmp_path, text)
        assert label_corrections(path, CONFIG, quiet) == ()
        found = label_corrections(path, CONFIG, moved)
        where = "the scanned bounds at (5, 4)"
        expected = (f"its annotation is counted from {where} now, not from level 0",) if kind == "geojson" else ()
        assert found == expected
        assert label_corrections(path, CONFIG, Frame((100, 100), (0.5, 0.5), BOUNDS, origin="level0")) == ()
    far = write(tmp_path, geojson(feature("Tumor", square(57, 40, 65, 70))))
    assert label_corrections(far, CONFIG, moved)[0].startswith("its annotation is refused now (62% of the annotation")


HEAD = "slide,patient,stain,scanner,source,split,annotation,mpp,score,origin\n"
BLUE = (20, 20, 220)


@pytest.fixture(scope="module")
def scn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Leica SCN of 3000 × 2000 px at 1 µm/px whose scanned part begins at (1000, 600), with a blue square labelled Tumor."""
    folder = tmp_path_factory.mktemp("scn")
    picture = tissue_slide(3, 1024)
    picture[300:500, 300:500] = BLUE
    write_scn(folder / "s.scn", picture, at=(1000, 600), glass=(3000, 2000))
    write_annotation(folder / "a.geojson", square_feature("Tumor", 300, 300, 500, 500))
    return folder


def built(folder: Path, out: Path, origin: str = "") -> tuple[dict, dict]:
    """Quarantine by slug, and the overview of the slide, where there is one."""
    table = folder / "slides.csv"
    table.write_text(HEAD + f"s.scn,P0,ER,Leica,DS1,train,a.geojson,,,{origin}\n")
    config = shards_config(store_px=32, stride_um=32.0, max_quarantined=1.0)
    todo = cutting.units(config, table)
    run_units(todo, cutting.cut, out, describe=cutting.describe)
    try:
        cutting.write_manifest(config, table, todo, out)
    except RuntimeError:
        assert origin == "level0", "no slide is left"
    overviews = list((out / "overview").glob("*.json"))
    with open(out / "quarantine.csv", newline="") as file:
        rows = {row["slug"]: row["reason"] for row in csv.DictReader(file)}
    return rows, json.loads(overviews[0].read_text()) if overviews else {}


def test_a_slide_with_bounds_is_labelled_where_qupath_showed_it(tmp_path, scn):
    with SlideReader(scn / "s.scn") as reader:
        assert reader.size == (3000, 2000) and reader.bounds == (1000, 600, 1024, 1024)
    rows, overview = built(scn, tmp_path / "out")
    assert not rows and overview["flags"] == {}
    assert overview["annotation"]["origin"] == "bounds" and overview["annotation"]["offset"] == [1000, 600]
    assert overview["measures"]["labels_on_tissue"] == 1 and overview["measures"]["off_slide_share"] == 0
    with ShardReader(next((tmp_path / "out").glob("*.tar")), MEMBERS) as shard:
        samples = [shard.read(number) for number in range(len(shard.index))]
    assert samples
    tumour = shards_config().fine_classes.index("tumour")
    for members in samples:
        image, label = decode_rgb(members["high.jpg"]), decode_label(members["high.png"])
        assert label[16, 16] == tumour and np.abs(image[16, 16].astype(int) - BLUE).max() <= 12  # JPEG, twice
        blue = (image[..., 2] > 180) & (image[..., 0] < 80)
        assert (blue == (label == tumour)).mean() > 0.93, "what is labelled is what is blue, up to the resampled border"
    page = render(tmp_path / "out")
    assert "GeoJSON, counted from the scanned bounds at (1000, 600)" in page


def test_the_slide_table_overrides_the_origin_and_a_wrong_one_is_caught(tmp_path, scn):
    rows, _ = built(scn, tmp_path / "out", "level0")
    assert "all of the annotation" in rows["s"] and "counted from level 0" in rows["s"]
    assert "column origin of the slide table" in rows["s"]
    rows, overview = built(scn, tmp_path / "stated", "bounds")
    assert not rows and overview["annotation"]["stated"] is True


def test_slides_are_checked_before_any_work_as_they_are_cut(scn):
    config = shards_config(store_px=32, stride_um=32.0, max_quarantined=1.0)
    for origin, bad in (("", []), ("bounds", []), ("level0", ["s"])):
        table = scn / f"checked-{origin}.csv"
        table.write_text(HEAD + f"s.scn,P0,ER,Leica,DS1,train,a.geojson,,,{origin}\n")
        assert list(cutting.check_slides(config, table)) == bad
