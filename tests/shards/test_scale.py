"""µm/px: the file's and the given figure must agree, print resolutions say nothing, and what is too coarse is not enlarged."""

import csv

import numpy as np
import pytest
import tifffile

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from shards import cutting
from shards.reader import SlideReader, open_slide
from shards.scale import ScaleConflict, ScaleUnknown, check_fine_enough, level0_mpp
from shards.slide_table import read_slide_table
from tests.shards.slides_for_tests import ramp, shards_config, tissue_slide, write_corpus, write_slide

HEADER = "slide,patient,stain,scanner,source,split,annotation,mpp,mpp_override\n"


@pytest.mark.parametrize(
    ("stated", "given", "override", "mpp"),
    [
        ((0.25, 0.26), None, False, (0.25, 0.26)),
        ((0.25, 0.25), 0.2549, False, (0.2549, 0.2549)),
        ((0.25, 0.25), 0.5, True, (0.5, 0.5)),
        (None, 0.5, False, (0.5, 0.5)),
        (None, 0.5, True, (0.5, 0.5)),
        ((264.6, 264.6), 0.5, False, (0.5, 0.5)),  # no scanner's figure, so it contradicts nothing
    ],
)
def test_which_figure_counts(stated, given, override, mpp):
    assert level0_mpp(stated, given, override, "s.svs") == mpp


@pytest.mark.parametrize(
    ("stated", "given", "kind", "said"),
    [
        ((1.0, 1.0), 4.0, ScaleConflict, r"s\.svs: 4 µm/px was given, but the file states 1 µm/px.*mpp_override"),
        ((0.25, 0.25), 0.256, ScaleConflict, "0.256 µm/px was given, but the file states 0.25"),
        ((0.25, 0.27), 0.25, ScaleConflict, "states 0.25 × 0.27 µm/px"),
        (None, None, ScaleUnknown, "does not say its µm/px.*column mpp"),
        ((264.6, 264.6), None, ScaleUnknown, "does not say its µm/px"),
        ((0.25, 0.5), None, ScaleUnknown, "not square: 0.25 µm/px across, 0.5 µm/px down"),
    ],
)
def test_figures_that_contradict_each_other(stated, given, kind, said):
    with pytest.raises(kind, match=said):
        level0_mpp(stated, given, False, "s.svs")


def test_too_coarse():
    check_fine_enough((0.75, 0.74), 0.5, "s.svs")
    with pytest.raises(UserError, match=r"has 0.76 µm/px and the high view wants 0.5.*coarser high_mpp"):
        check_fine_enough((0.5, 0.76), 0.5, "s.svs")
    with pytest.raises(UserError, match=r"the network wants 0.5.*or a network trained for this one"):
        check_fine_enough((1.0, 1.0), 0.5, "s.svs", "the network")


def test_a_reader_refuses_and_takes_the_word_of_a_person(tmp_path):
    write_slide(tmp_path / "s.tif", ramp(300, 300), mpp=1.0)
    with pytest.raises(ScaleConflict, match=r"s\.tif: 4 µm/px"):
        SlideReader(tmp_path / "s.tif", 4.0)
    with SlideReader(tmp_path / "s.tif", 4.0, override=True) as reader:
        assert reader.mpp == (4.0, 4.0)


@pytest.mark.parametrize("tile", [(256, 256), None])
def test_a_resolution_for_printers_is_asked_about(tmp_path, tile):
    tifffile.imwrite(
        tmp_path / "s.tif", ramp(600, 600), photometric="rgb", tile=tile, resolution=(300, 300), resolutionunit="INCH"
    )
    with pytest.raises(ScaleUnknown):
        SlideReader(tmp_path / "s.tif")
    with SlideReader(tmp_path / "s.tif", 0.5) as reader:
        assert reader.mpp == (0.5, 0.5)


def rewrite(table, slide, mpp, override=""):
    """The table with one slide's mpp and mpp_override filled in."""
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    lines = [HEADER]
    for row in rows:
        figures = f"{mpp},{override}" if row["slide"] == slide else ","
        lines.append(",".join(row[name] for name in HEADER.split(",")[:7]) + f",{figures}\n")
    table.write_text("".join(lines))


def coarse(table):
    write_slide(table.parent / "s1.tif", tissue_slide(1), mpp=16.0)


def conflict(table):
    rewrite(table, "s1.tif", 4.0)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (coarse, ["s1.tif", "16 µm/px", "the high view wants 2"]),
        (conflict, ["s1.tif", "4 µm/px", "the file states 1 µm/px"]),
    ],
)
def test_such_slides_are_found_before_any_work_and_set_aside(tmp_path, spoil, said):
    table, config = write_corpus(tmp_path / "slides"), shards_config(max_quarantined=0.9)
    spoil(table)
    found = cutting.check_slides(config, table)
    assert list(found) == ["s1"] and all(word in str(found["s1"]) for word in said)
    todo = cutting.units(config, table)
    run_units(todo, cutting.cut, tmp_path / "out", describe=cutting.describe)
    cutting.write_manifest(config, table, todo, tmp_path / "out")
    with open(tmp_path / "out" / cutting.QUARANTINE, newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["slug"] for row in rows] == ["s1"] and all(word in rows[0]["reason"] for word in said)
    assert not list((tmp_path / "out").glob("s1-*.tar"))


def test_the_row_may_say_that_the_file_is_wrong(tmp_path):
    table, config = write_corpus(tmp_path / "slides"), shards_config()
    rewrite(table, "s1.tif", 2.0, "yes")
    assert not cutting.check_slides(config, table)
    slide = next(slide for slide in read_slide_table(table) if slide.slug == "s1")
    with open_slide(slide, config.high_mpp) as reader:
        assert reader.mpp == (2.0, 2.0)
        image, _ = reader.read((400.0, 400.0), 2.0, 64)
    assert np.array_equal(image, tissue_slide(1)[368:432, 368:432])


@pytest.mark.parametrize("given", [0.00025, 0.01, 250.0])
def test_a_scale_that_no_microscope_has_is_refused_whoever_gives_it(given):
    """0.00025: somebody wrote millimetres."""
    with pytest.raises(UserError, match="no microscope has"):
        level0_mpp((0.25, 0.25), given, True, "s.svs")
