"""Files of phantom slides: same seed same bytes, OpenSlide opens them, the table keeps patients and unseen sets apart."""

import csv
import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
import shapely
from openslide import OpenSlide

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import Scratch, run_units
from mlseg_core.files import sha256_file
from shards.phantom import PhantomConfig, draw, units, write_table
from shards.phantom.annotation import CLASSES

SMALL = PhantomConfig(seed=11, size_um=2200, train=1, val=1, test=0, dev_unseen=1, final_unseen=1)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("phantom")
    assert run_units(units(SMALL), draw, where) == []
    write_table(SMALL, where)
    return where


def table(folder: Path) -> list[dict[str, str]]:
    with open(folder / "slides.csv", newline="") as file:
        return list(csv.DictReader(file))


def drawn(config: PhantomConfig, index: int, folder: Path) -> dict[str, str]:
    """Suffix -> sha256 of what `draw` writes."""
    scratch = Scratch(folder)
    draw(units(config)[index], scratch)
    return {Path(name).suffix: sha256_file(path) for name, path in scratch.paths.items()}


def test_same_seed_gives_the_same_bytes_in_another_process_too(folder, tmp_path):
    name = units(SMALL)[0].name
    first = {suffix: sha256_file(folder / f"{name}{suffix}") for suffix in (".tif", ".geojson")}
    assert drawn(SMALL, 0, tmp_path) == first
    script = (
        "import sys; from pathlib import Path; from mlseg_core.exactly_once.run import run_units;"
        "from shards.phantom import PhantomConfig, draw, units;"
        "run_units(units(PhantomConfig.model_validate_json(sys.argv[1]))[:1], draw, Path(sys.argv[2]))"
    )
    # Another hash seed and another number of threads must not show either.
    environment = {**os.environ, "PYTHONHASHSEED": "5", "OMP_NUM_THREADS": "3"}
    subprocess.run([sys.executable, "-c", script, SMALL.model_dump_json(), tmp_path], check=True, env=environment)
    assert {suffix: sha256_file(tmp_path / f"{name}{suffix}") for suffix in first} == first


def test_another_seed_gives_other_bytes(folder, tmp_path):
    other = SMALL.model_copy(update={"seed": 12})
    stem = units(SMALL)[0].name
    changed = drawn(other, 0, tmp_path)
    assert changed[".tif"] != sha256_file(folder / f"{stem}.tif")
    assert changed[".geojson"] != sha256_file(folder / f"{stem}.geojson")


def test_inputs_name_all_that_decides_the_bytes():
    before = {unit.name: unit.inputs for unit in units(SMALL)}
    more = {unit.name: unit.inputs for unit in units(SMALL.model_copy(update={"train": 3, "test": 2}))}
    assert {name: more[name] for name in before} == before  # adding slides redraws none
    for change in ({"seed": 1}, {"mpp": 0.5}, {"decoys": 0.5}, {"cuff_contrast": 0.5}, {"jpeg_quality": 80}):
        after = {unit.inputs for unit in units(SMALL.model_copy(update=change))}
        assert after.isdisjoint(before.values()), change
    json.dumps([unit.payload for unit in units(SMALL)])


def test_openslide_opens_the_pyramid_with_its_mpp(folder):
    for unit in units(SMALL):
        with OpenSlide(folder / f"{unit.name}.tif") as slide:
            assert slide.properties["openslide.vendor"] == "generic-tiff"
            assert slide.level_count >= 3
            assert slide.level_downsamples == pytest.approx([1, 2, 4, 8][: slide.level_count], rel=0.01)
            for axis in "xy":
                assert float(slide.properties[f"openslide.mpp-{axis}"]) == pytest.approx(unit.payload["mpp"], rel=0.01)
            side = slide.dimensions[0] * unit.payload["mpp"]
            assert side == pytest.approx(SMALL.size_um, rel=0.01)
            glass = np.asarray(slide.read_region((0, 0), 0, (40, 40)).convert("RGB"))
            small = np.asarray(slide.get_thumbnail((200, 200)).convert("L"))
            assert glass.mean() > 230
            assert small[60:140, 60:140].mean() < glass.mean() - 20


def test_levels_show_the_same_place(folder):
    with OpenSlide(folder / f"{units(SMALL)[0].name}.tif") as slide:
        whole = np.asarray(slide.read_region((800, 800), 0, (256, 256)).convert("RGB"), float)
        half = np.asarray(slide.read_region((800, 800), 1, (128, 128)).convert("RGB"), float)
        shrunk = whole.reshape(128, 2, 128, 2, 3).mean((1, 3))
        assert np.abs(shrunk - half).mean() < 4


def test_annotation_is_qupath_geojson_inside_the_slide(folder):
    for unit in units(SMALL):
        with OpenSlide(folder / f"{unit.name}.tif") as slide:
            box = shapely.box(0, 0, *slide.dimensions)
        collection = json.loads((folder / f"{unit.name}.geojson").read_text())
        assert collection["type"] == "FeatureCollection"
        assert collection["features"]
        for feature in collection["features"]:
            assert feature["properties"]["objectType"] == "annotation"
            assert feature["properties"]["classification"]["name"] in CLASSES
            shape = shapely.geometry.shape(feature["geometry"])
            assert shape.geom_type == "Polygon"
            assert shape.is_valid
            assert box.contains(shape)


def test_table_lists_every_slide_with_paths_relative_to_it(folder):
    lines = (folder / "slides.csv").read_text().splitlines()
    assert lines[0] == "slide,patient,stain,scanner,source,split,annotation,mpp,score"
    found = table(folder)
    assert len(found) == len(units(SMALL)) == 4
    for row in found:
        assert (folder / row["slide"]).is_file()
        assert (folder / row["annotation"]).is_file()
        assert row["mpp"] == ""


def test_patients_and_unseen_sets_stay_apart(tmp_path):
    write_table(PhantomConfig(train=40, val=7, test=9, dev_unseen=5, final_unseen=4), tmp_path)
    found = table(tmp_path)
    splits, slides, values = defaultdict(set), defaultdict(int), defaultdict(set)
    for row in found:
        splits[row["patient"]].add(row["split"])
        slides[row["patient"]] += 1
        for column in ("stain", "scanner", "source"):
            values[row["split"], column].add(row[column])
    assert all(len(names) == 1 for names in splits.values())
    assert {1, 2} == set(slides.values())
    for column in ("stain", "scanner", "source"):
        seen = set().union(*(values[split, column] for split in ("train", "val", "test")))
        dev, final = values["dev-unseen", column], values["final-unseen", column]
        assert len(dev) == len(final) == 1
        assert seen.isdisjoint(dev) and seen.isdisjoint(final) and dev.isdisjoint(final)
    assert values["train", "stain"] == {"ER", "PR", "HER2", "Ki67"}
    assert len(values["train", "scanner"]) == 3 and len(values["train", "source"]) == 6


def test_scores_are_those_of_the_stain(tmp_path):
    write_table(PhantomConfig(train=60, final_unseen=3), tmp_path)
    allowed = {"ER": range(9), "PR": range(9), "HER2": range(4), "Ki67": range(101), "GATA3": range(101)}
    for row in table(tmp_path):
        if row["stain"] == "H&E":
            assert row["score"] == ""
        else:
            assert int(row["score"]) in allowed[row["stain"]]


def test_a_wrong_key_is_one_clear_line():
    with pytest.raises(UserError, match=r"unknown key 'decoy'.*decoys"):
        validate({"decoy": 1}, PhantomConfig, "phantom.yaml")
