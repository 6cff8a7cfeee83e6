"""Bad slides at night: each goes to quarantine.csv with its reason, the others are cut as if it were not there."""

import csv
import json
import shutil

import numpy as np
import pytest
import tifffile

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import map_in_processes, run_units
from shards import cutting
from shards.manifest import read_manifest
from tests.shards.slides_for_tests import (
    HEADER,
    shards_config,
    square_feature,
    tissue_slide,
    write_annotation,
    write_corpus,
    write_slide,
)

CONFIG = shards_config(tissue_stride_um=192.0, samples_per_shard=25, max_quarantined=0.9)


def cut_all(table, folder, config=CONFIG):
    todo = cutting.units(config, table)
    failures = run_units(todo, cutting.cut, folder, describe=cutting.describe)
    manifest = cutting.write_manifest(config, table, todo, folder)
    with open(folder / cutting.QUARANTINE, newline="") as file:
        return failures, manifest, {row["slug"]: row for row in csv.DictReader(file)}


def zero_bytes(folder):
    (folder / "s1.tif").write_bytes(b"")


def half_copied(folder):
    data = (folder / "s1.tif").read_bytes()
    (folder / "s1.tif").write_bytes(data[: len(data) // 2])


def no_mpp(folder):
    write_slide(folder / "s1.tif", tissue_slide(1), mpp=None)


def unmapped(folder):
    write_annotation(
        folder / "s1.geojson", square_feature("<b>Tumor</b>", 0, 0, 99, 99), square_feature("ADH", 0, 0, 9, 9)
    )


def entity_bomb(folder):
    text = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "ha"><!ENTITY c "&b;&b;&b;&b;">]><ASAP_Annotations>&c;</ASAP_Annotations>'
    (folder / "s1.geojson").write_text(text)


def a_folder_as_annotation(folder):
    (folder / "s1.geojson").unlink()
    (folder / "s1.geojson").mkdir()


def off_the_slide(folder):
    write_annotation(folder / "s1.geojson", square_feature("Tumor", 90_000, 90_000, 99_000, 99_000))


def fluorescence(folder):
    image = np.full((800, 800, 3), 8, np.uint8)
    image[350:500, 300:450] = 255 - tissue_slide(1)[350:500, 300:450]
    write_slide(folder / "s1.tif", image)


def empty(folder):
    write_slide(folder / "s1.tif", np.full((800, 800, 3), 241, np.uint8))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (zero_bytes, ["cannot be opened"]),
        (half_copied, ["cut short"]),
        (no_mpp, ["µm/px", "column mpp"]),
        (unmapped, ["<b>Tumor</b>", "ADH", "annotation_classes"]),
        (entity_bomb, ["s1.geojson", "entities"]),
        (a_folder_as_annotation, ["s1.geojson", "cannot be read", "directory"]),
        (off_the_slide, ["lies off the slide"]),
        (fluorescence, ["inverted"]),
        (empty, ["empty", "tissue"]),
    ],
)
def test_a_bad_slide_is_set_aside_and_the_others_are_cut(tmp_path, spoil, words):
    table = write_corpus(tmp_path / "slides")
    _, clean, rows = cut_all(table, tmp_path / "clean")
    assert not rows
    spoil(tmp_path / "slides")
    _, manifest, rows = cut_all(table, tmp_path / "spoilt")
    assert list(rows) == ["s1"]
    for word in words:
        assert word in rows["s1"]["reason"]
    assert rows["s1"]["traceback"].startswith("Traceback") or spoil in (fluorescence, empty)
    assert [slide.slug for slide in manifest.slides if slide.quarantined] == ["s1"]
    assert manifest.shards == tuple(shard for shard in clean.shards if shard.slide != "s1")
    assert not list((tmp_path / "spoilt").glob("s1-*.tar")), "nothing that looks like a shard of it"


def test_mended_it_is_cut_by_the_next_run(tmp_path):
    table = write_corpus(tmp_path / "slides")
    _, clean, _ = cut_all(table, tmp_path / "clean")
    good = (tmp_path / "slides/s1.tif").read_bytes()
    zero_bytes(tmp_path / "slides")
    cut_all(table, tmp_path / "shards")
    (tmp_path / "slides/s1.tif").write_bytes(good)
    failures, manifest, rows = cut_all(table, tmp_path / "shards")
    assert not failures and not rows and manifest == clean


def test_too_many_bad_slides_are_a_mistake_found_before_any_work(tmp_path):
    table = write_corpus(tmp_path / "slides")
    unmapped(tmp_path / "slides")
    config = shards_config(max_quarantined=0.1)
    with pytest.raises(UserError, match=r"s1.geojson.*ADH"):
        cutting.check_slides(config, table)
    with pytest.raises(RuntimeError, match=r"1 of 3 slides are bad.*quarantine.csv"):
        cut_all(table, tmp_path / "shards", config)
    assert (tmp_path / "shards" / cutting.QUARANTINE).exists() and not (tmp_path / "shards/manifest.json").exists()


def test_a_slide_replaced_while_it_is_cut_gives_nothing(tmp_path):
    table = write_corpus(tmp_path / "slides")
    todo = cutting.units(CONFIG, table)

    def cut_and_replace(unit, scratch):
        if unit.name == "s1":  # between the plan and the end of the cut
            advance = scratch.advance
            scratch.advance = lambda pieces=1: (
                write_slide(tmp_path / "slides/s1.tif", tissue_slide(7)), advance(pieces)
            )  # fmt: skip
        cutting.cut(unit, scratch)

    failures = run_units(todo, cut_and_replace, tmp_path / "shards", describe=cutting.describe)
    assert [failed.unit for failed in failures] == ["s1"] and "replaced" in failures[0].reason
    assert not list((tmp_path / "shards").glob("s1-*")), "its samples mix two slides"


@pytest.mark.parametrize(("tiles", "quarantined"), [(1, False), (40, True)])
def test_patches_that_cannot_be_decoded_are_dropped_and_counted(tmp_path, tiles, quarantined):
    table = write_corpus(tmp_path / "slides")
    path = tmp_path / "slides/s0.tif"
    write_slide(path, tissue_slide(0, side=10000), mpp=2.0, levels=1)
    write_annotation(tmp_path / "slides/s0.geojson", square_feature("Tumor", 200, 200, 9800, 9800))
    spoil_tiles(path, range(300, 300 + tiles))
    config = shards_config(store_px=32, stride_um=384.0, max_quarantined=0.9)
    failures, manifest, rows = cut_all(table, tmp_path / "shards", config)
    cut = [shard for shard in manifest.shards if shard.slide == "s0"]
    if quarantined:
        assert "cannot be decoded" in rows["s0"]["reason"] and not cut and failures
    else:
        assert not rows
        facts = json.loads((tmp_path / "shards" / manifest.slides[0].overview).read_text())
        lost = facts["dropped"]["pixels that cannot be decoded"]
        assert 1 <= lost <= 0.01 * facts["seeds_total"]
        assert sum(shard.samples for shard in cut) == facts["seeds_total"] - lost


def spoil_tiles(path, numbers):
    with tifffile.TiffFile(path) as tiff:
        places = [(tiff.pages[0].dataoffsets[n], tiff.pages[0].databytecounts[n]) for n in numbers]
    data = bytearray(path.read_bytes())
    for offset, size in places:
        data[offset : offset + size] = b"\xff" * size
    path.write_bytes(data)


@pytest.mark.parametrize(
    "name", ["a.b.c", "with space", "quote'\"s", "Müller-乳腺", "-dash", "semi;colon", "<script>x", "$(id)"]
)
def test_odd_slide_names(tmp_path, name):
    table = write_corpus(tmp_path / "slides")
    shutil.move(tmp_path / "slides/s0.tif", tmp_path / f"slides/{name}.tif")
    quoted = name.replace('"', '""')
    row = f'"{quoted}.tif",P0,ER,Philips,DS1,train,s0.geojson,,5\n'
    table.write_text(table.read_text().replace("s0.tif,P0,ER,Philips,DS1,train,s0.geojson,,5\n", row))
    todo = cutting.units(CONFIG, table)
    map_in_processes(todo, cutting.cut, tmp_path / "shards", 2, describe=cutting.describe)
    manifest = cutting.write_manifest(CONFIG, table, todo, tmp_path / "shards")
    assert read_manifest(tmp_path / "shards/manifest.json") == manifest
    entry = manifest.slides[0]
    assert entry.slide == f"{name}.tif" and all(c.isascii() and (c.isalnum() or c in "_-") for c in entry.slug)
    assert any(shard.slide == entry.slug and shard.samples for shard in manifest.shards)


def test_a_table_of_slides_of_one_name_is_refused(tmp_path):
    write_corpus(tmp_path / "slides")
    (tmp_path / "slides/more").mkdir()
    shutil.copy(tmp_path / "slides/s0.tif", tmp_path / "slides/more/s0.tif")
    table = tmp_path / "slides/slides.csv"
    table.write_text(HEADER + "s0.tif,P0,ER,,,train,,,\nmore/s0.tif,P9,ER,,,train,,,\n")
    with pytest.raises(UserError, match="two slides are named 's0'"):
        cutting.units(CONFIG, table)
