"""What makes phantom slides a bench for self-training: paired appearances, few or careless annotations, and the whole truth."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import shapely
from openslide import OpenSlide

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Scratch, run_units
from mlseg_core.files import fingerprint, sha256_file
from shards import cutting
from shards.config import ShardsConfig
from shards.phantom import PhantomConfig, draw, units, write_table
from shards.phantom.annotation import CLASSES, annotated, areas, whole_truth
from shards.phantom.appearances import DEV
from shards.phantom.config import GroupsConfig
from shards.phantom.layout import plan
from shards.phantom.table import Specimen, rows

GROUPS = PhantomConfig(
    train=8, val=4, test=12, dev_unseen=0, final_unseen=0, groups=GroupsConfig(unannotated=12), regions=0.125, swapped=1
)
FEW = PhantomConfig(
    seed=3,
    size_um=2200,
    train=1,
    val=1,
    test=0,
    dev_unseen=1,
    final_unseen=0,
    regions=0.25,
    dev_appearances=("hps", "warm"),
)

CALLED = {"Stroma": "stroma", "Tumor": "tumor", "DCIS": "dcis"}


def shapes(text: str, mpp: float) -> dict[str, shapely.Geometry]:
    """Class -> what is annotated as it, µm."""
    found: dict[str, list[shapely.Geometry]] = {}
    for feature in json.loads(text)["features"]:
        shape = shapely.transform(shapely.geometry.shape(feature["geometry"]), lambda points: points * mpp)
        found.setdefault(feature["properties"]["classification"]["name"], []).append(shape)
    return {name: shapely.union_all(parts) for name, parts in found.items()}


def test_slides_of_earlier_configs_stay_the_same():
    earlier = PhantomConfig(seed=7, train=10, val=4, test=2, dev_unseen=2, final_unseen=2)
    assert fingerprint([[unit.name, unit.inputs] for unit in units(earlier)]).startswith("16e842eb021db7f0")
    assert fingerprint(earlier.model_dump(mode="json")).startswith("c8ef23dd3a1acc36")


def test_appearances_of_a_layout_show_the_same_tissue(tmp_path):
    pairs = [unit for unit in units(FEW) if unit.name.startswith("dev-unseen")]
    assert [unit.name for unit in pairs] == ["dev-unseen-000-hps", "dev-unseen-000-warm"]
    assert run_units(pairs, draw, tmp_path) == []
    outlines, colours = [], []
    for unit in pairs:
        mpp = unit.payload["mpp"]
        outlines.append(shapes((tmp_path / f"{unit.name}.geojson").read_text(), mpp))
        with OpenSlide(tmp_path / f"{unit.name}.tif") as slide:
            colours.append(np.asarray(slide.get_thumbnail((200, 200)).convert("RGB"), float)[60:140, 60:140])
    assert outlines[0].keys() == outlines[1].keys()
    for name, shape in outlines[0].items():
        assert shape.symmetric_difference(outlines[1][name]).area < 0.002 * shape.area + 20, name
    assert np.abs(colours[0].mean((0, 1)) - colours[1].mean((0, 1))).max() > 20
    dark = [picture.sum(-1) < np.percentile(picture.sum(-1), 15) for picture in colours]
    assert (dark[0] & dark[1]).sum() > 0.5 * dark[0].sum()  # what is dark in one is dark in the other


def test_one_patient_in_all_appearances():
    config = PhantomConfig(train=0, val=0, test=0, dev_unseen=4, final_unseen=0, dev_appearances=tuple(DEV))
    found = rows(config)
    assert len(found) == 4 * len(DEV)
    by_layout = {row.specimen.layout: row.patient for row in found}
    assert all(by_layout[row.specimen.layout] == row.patient for row in found)
    assert len(set(by_layout.values())) == 3  # every third patient has two slides
    marked = {(row.specimen.layout, row.specimen.positive, row.specimen.intensity) for row in found}
    assert len(marked) == 4
    assert {row.specimen.scanner for row in found} == {look.scanner for look in DEV.values()}


def test_people_annotated_slides_of_few_labs_and_scanners():
    found = rows(GROUPS)
    train = [row for row in found if row.split == "train"]
    assert sum(row.annotated for row in train) == 8 and len(train) == 20
    for row in found:
        inside = row.specimen.source in ("DS1", "DS2"), row.specimen.scanner == "Morphle"
        if row.split == "train":
            assert inside == (row.annotated, row.annotated)
        elif row.split == "val":
            assert inside == (True, True)
    test = [row for row in found if row.split == "test"]
    assert sum(row.specimen.source in ("DS1", "DS2") for row in test) == 6
    assert {row.specimen.source for row in test} == {f"DS{n}" for n in range(1, 7)}
    assert all(row.specimen.truth == (row.split == "train") for row in found)
    assert [row.specimen.swapped for row in train if row.annotated].count(True) == 1
    assert not any(row.specimen.swapped for row in train if not row.annotated)


@pytest.mark.parametrize("groups", [None, GroupsConfig(unannotated=12)])
def test_what_is_left_out_is_on_no_slide_of_train_and_val_and_test_stays_the_same(groups):
    every = GROUPS.model_copy(update={"groups": groups})
    fewer = every.model_copy(update={"left_out": ("HER2", "Philips")})
    learnt = [row.specimen for row in rows(fewer) if row.split in ("train", "val")]
    assert {specimen.stain for specimen in learnt} == {"ER", "PR", "Ki67"}
    assert {specimen.scanner for specimen in learnt} == {"Morphle", "Optrascan"}
    test = [row for row in rows(fewer) if row.split == "test"]
    assert test == [row for row in rows(every) if row.split == "test"]
    assert {"HER2", "ER"} <= {row.specimen.stain for row in test}
    assert {"Philips", "Morphle"} <= {row.specimen.scanner for row in test}
    assert len(learnt) == sum(row.split in ("train", "val") for row in rows(every))


def test_a_quarter_of_the_regions_and_the_whole_truth_beside_them(tmp_path):
    assert run_units(units(FEW), draw, tmp_path) == []
    write_table(FEW, tmp_path)
    tables = {
        name: list(csv.DictReader((tmp_path / name).read_text().splitlines())) for name in ("slides.csv", "truth.csv")
    }
    for people, truth in zip(tables["slides.csv"], tables["truth.csv"], strict=True):
        assert people | {"annotation": ""} == truth | {"annotation": ""}
        is_train = people["split"] == "train"
        assert (people["annotation"] != truth["annotation"]) == is_train
        assert (tmp_path / truth["annotation"]).is_file()
    specimen = next(row.specimen for row in rows(FEW) if row.split == "train")
    layout = plan(specimen)
    kept, whole = shapes(annotated(specimen, layout), specimen.mpp), shapes(whole_truth(specimen, layout), specimen.mpp)
    all_regions = shapely.union_all(layout.regions).area
    total = sum(shape.area for shape in kept.values())
    assert total == pytest.approx(all_regions / len(layout.regions), rel=0.25)
    for name, shape in kept.items():  # people are right where they drew
        assert shape.difference(whole[name].buffer(0.5)).area < 0.01 * shape.area + 30, name
    assert sum(shape.area for shape in whole.values()) == pytest.approx((FEW.size_um - 8) ** 2, rel=0.01)


def test_a_ceiling_has_the_same_slides_with_the_whole_truth_as_annotations(tmp_path):
    ceiling = FEW.model_copy(update={"train_annotations": "whole-truth"})
    assert units(ceiling) == units(FEW)
    (tmp_path / "people").mkdir()
    (tmp_path / "truth").mkdir()
    write_table(FEW, tmp_path / "people")
    write_table(ceiling, tmp_path / "truth")
    assert (tmp_path / "truth" / "slides.csv").read_text() == (tmp_path / "people" / "truth.csv").read_text()
    assert (tmp_path / "people" / "slides.csv").read_text() != (tmp_path / "people" / "truth.csv").read_text()


def test_careless_borders_are_off_by_what_was_asked_for():
    specimen = Specimen(**units(GROUPS)[0].payload)
    specimen = replace(specimen, regions=1.0, swapped=False)
    layout = plan(specimen)
    exact = shapes(annotated(specimen, layout), specimen.mpp)
    off = shapes(annotated(replace(specimen, careless_um=8.0), layout), specimen.mpp)
    for name in ("Tumor", "DCIS"):
        overlap = exact[name].intersection(off[name]).area / exact[name].union(off[name]).area
        assert 0.7 < overlap < 0.97, name
    assert sum(s.area for s in off.values()) == pytest.approx(sum(s.area for s in exact.values()), rel=0.001)


def test_swapped_labels_swap_two_classes_and_nothing_else():
    specimen = next(row.specimen for row in rows(GROUPS) if row.specimen.swapped)
    specimen, layout = replace(specimen, regions=1.0), plan(specimen)
    wrong, right = (
        shapes(annotated(replace(specimen, swapped=swapped), layout), specimen.mpp) for swapped in (True, False)
    )
    assert wrong["Tumor"].equals(right["DCIS"]) and wrong["DCIS"].equals(right["Tumor"])
    assert all(wrong[name].equals(right[name]) for name in right.keys() - {"Tumor", "DCIS"})
    assert len({kind for kind, _ in areas(layout)} & {"Tumor", "DCIS"}) == 2


def test_shards_are_cut_without_a_look_at_the_truth(tmp_path):
    """Garbage in its place changes no byte; and no module outside of the phantom names such a file."""
    hashes = []
    assert run_units(units(FEW), draw, tmp_path / "whole") == []
    write_table(FEW, tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "garbage")
    for path in [*(tmp_path / "garbage").glob("*.truth.geojson"), tmp_path / "garbage" / "truth.csv"]:
        path.write_bytes(b"?" * path.stat().st_size)
    for slides in (tmp_path / "whole", tmp_path / "garbage"):
        table, out = slides / "slides.csv", tmp_path / f"shards-of-{slides.name}"
        config = ShardsConfig(
            fine_classes=("stroma", "tumor", "dcis", "other"),
            annotation_classes={name: CALLED.get(name, "other") for name in CLASSES},
            high_mpp=2.0,
            low_mpp=8.0,
            store_px=192,
            stride_um=128.0,
            max_per_class=2,
        )
        todo = cutting.plan_cut(config, table, out)
        assert run_units(todo.units, cutting.cut, out, describe=cutting.describe) == []
        hashes.append({path.name: sha256_file(path) for path in sorted(out.glob("*.tar"))})
    assert hashes[0] == hashes[1] and hashes[0]
    root = Path(__file__).parents[2]
    named = [
        path
        for package in ("mlseg_core", "mlseg_dist", "launch", "shards")
        for path in (root / package).rglob("*.py")
        if "truth.geojson" in path.read_text() or "truth.csv" in path.read_text()
    ]
    assert {path.parent.name for path in named} == {"phantom"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"dev_appearances": ["hp"]}, "unknown: hp"),
        ({"final_appearances": ["hps"]}, "unknown: hps"),
        ({"groups": {"sources": ["DS9"]}}, "unknown: DS9"),
        ({"groups": {"scanners": ["Morphle", "Optrascan", "Philips"]}}, "must be left"),
        ({"groups": {"sources": []}}, "none"),
        ({"left_out": ["Ki-67"]}, "unknown: Ki-67"),
        ({"left_out": ["ER", "PR", "HER2", "Ki67"]}, "no stain or no scanner is left"),
        ({"left_out": ["Morphle"], "groups": {}}, "no stain or no scanner is left"),
        ({"swapped": 13}, "13 of 12"),
        ({"train_annotations": "whole-truth"}, "needs groups"),
    ],
)
def test_a_bench_that_cannot_be_is_refused(change, said):
    with pytest.raises(UserError, match=said):
        validate(change, PhantomConfig, "phantom.yaml")


def test_scratch_gets_the_truth_only_where_people_left_something_out(tmp_path):
    plain = PhantomConfig(size_um=2200, train=1, val=0, test=0, dev_unseen=0, final_unseen=0)
    scratch = Scratch(tmp_path)
    draw(units(plain)[0], scratch)
    assert {Path(name).suffixes[0] for name in scratch.paths} == {".tif", ".geojson"}
