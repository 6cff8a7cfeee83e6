"""Maps on disk say what the strips said; slides become maps exactly once, whoever does them and whatever happens meanwhile."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from mlseg_core.errors import Interrupted, UserError, exit_status
from mlseg_core.exactly_once.run import merge, run_units
from mlseg_core.files import sha256_file
from mlseg_dist.config import IGNORED
from mlseg_dist.whole_slide import work
from mlseg_dist.whole_slide.work import MapOptions
from mlseg_dist.whole_slide.writing import MapFiles, write_maps
from shards.slide_table import Slide, read_slide_table
from tests.mlseg_dist.tiny_run import TinyRun
from tests.mlseg_dist.whole_slide.slides import everything, knows_colours, whole
from tests.mlseg_dist.whole_slide.test_strips import slide_of
from tests.shards.slides_for_tests import shards_config, write_slide


def soft(high, low):
    """knows_colours, less sure of itself."""
    return 0.7 * knows_colours(high, low) + 0.1


@pytest.mark.parametrize("cell_px", [1, 4])
def test_maps_on_disk_say_what_the_strips_said(run, tmp_path, cell_px):
    classes, probabilities = tmp_path / "maps" / "classes.tif", tmp_path / "maps" / "probabilities.tif"
    classes.parent.mkdir()
    with whole(slide_of(run), soft, cell_px=cell_px) as engine:
        counts = write_maps(engine.strips(), engine.grid, 0.45, classes, probabilities)
    with whole(slide_of(run), soft, cell_px=cell_px) as engine:
        wanted, _, _ = everything(engine.strips())
    shown = tifffile.imread(probabilities)
    assert shown.shape == (*engine.grid.size, 3) and shown.dtype == np.uint8
    assert np.abs(shown / 255 - wanted.transpose(1, 2, 0)).max() <= 0.5 / 255 + 1e-6
    decided = np.where(wanted.max(axis=0) >= 0.45, wanted.argmax(axis=0), 0)
    found = tifffile.imread(classes)
    assert (found == decided).all()
    assert list(counts.classes.values()) == np.bincount(decided.ravel(), minlength=3).tolist()
    assert counts.region == decided.size and counts.unanswered == 0
    with tifffile.TiffFile(classes) as tiff:
        numerator, denominator = tiff.pages[0].tags["XResolution"].value
        assert 1e4 * denominator / numerator == pytest.approx(engine.grid.cell_um) and tiff.pages[0].is_tiled
    assert sorted(path.name for path in classes.parent.iterdir()) == ["classes.tif", "probabilities.tif"]


def test_a_map_that_cannot_be_finished_leaves_no_trace_and_no_thread(run, tmp_path):
    class Broken(Exception):
        pass

    def breaks(strips):
        yield next(strips)
        raise Broken

    with whole(slide_of(run), soft) as engine, pytest.raises(Broken):
        write_maps(breaks(engine.strips()), engine.grid, 0.45, tmp_path / "c.tif", tmp_path / "p.tif")
    assert not list(tmp_path.iterdir())
    with whole(slide_of(run), soft) as engine, pytest.raises(OSError, match="No such file"):
        write_maps(engine.strips(), engine.grid, 0.45, tmp_path / "c.tif", tmp_path / "nowhere" / "p.tif")
    assert not list(tmp_path.iterdir())
    full = Path("/dev/full")
    with whole(slide_of(run), soft) as engine, pytest.raises(OSError), MapFiles(engine.grid, 0.45, full, None) as files:
        for strip in engine.strips():
            files.add(strip)


def units_of(run: TinyRun, slides: list[Slide], **options):
    return work.units(run.config, 1, run.path, shards_config(), slides, MapOptions(**options))


@pytest.fixture(scope="module")
def slides(run) -> list[Slide]:
    return read_slide_table(run.path.parent / "slides" / "slides.csv")


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file()}


@pytest.fixture(scope="module")
def by_one(run, slides, tmp_path_factory) -> Path:
    """The maps of all slides, one after the other in this process."""
    folder = tmp_path_factory.mktemp("one")
    assert not run_units(units_of(run, slides), work.predict, folder, describe=work.describe)
    return folder


def test_each_slide_has_its_maps_and_facts(run, slides, by_one):
    units = units_of(run, slides)
    records = merge(units, by_one)
    assert len(hashes(by_one)) == 3 * len(slides)
    for unit, record in zip(units, records, strict=True):
        names = work.names(unit)
        assert set(record.files) == set(names.values())
        facts = record.facts
        assert facts == json.loads((by_one / names["json"]).read_text()) and facts["forwards_per_area"] == 1.7778
        classes = tifffile.imread(by_one / names["classes.tif"])
        found = np.bincount(classes.ravel(), minlength=256)
        assert found[:3].tolist() == list(facts["cells"]["classes"].values())
        assert found[IGNORED] == classes.size - facts["cells"]["region"] and record.pieces == facts["patches"] > 0
    assert {unit.inputs for unit in units}.isdisjoint(unit.inputs for unit in units_of(run, slides, overlap=0.5))


DIES = """
import os, signal, sys
from pathlib import Path
from mlseg_core.config import validate
from mlseg_core.exactly_once.run import run_units
from mlseg_dist.config import LearningConfig
from mlseg_dist.whole_slide import work
from shards.slide_table import read_slide_table
from tests.mlseg_dist.tiny_run import plain_config
from tests.shards.slides_for_tests import shards_config

class Dies(work.MapFiles):
    strips = 0

    def add(self, strip):
        Dies.strips += 1
        if Dies.strips == 27:  # 11 a slide: in the middle of the third
            os.kill(os.getpid(), signal.SIGKILL)
        super().add(strip)

run, out = map(Path, sys.argv[1:3])
work.MapFiles = Dies
slides = read_slide_table(run.parent / "slides" / "slides.csv")
units = work.units(validate(plain_config(), LearningConfig, "test"), 1, run, shards_config(), slides, work.MapOptions())
run_units(units, work.predict, out, describe=work.describe)
"""


def test_killed_in_the_middle_of_a_slide_it_goes_on_to_the_same_bytes(run, slides, by_one, tmp_path):
    units, out = units_of(run, slides), tmp_path / "out"
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    done = subprocess.run([sys.executable, "-c", DIES, run.path, out], env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(list(out.glob("done/*.json"))) == 2 and list(out.glob(".tmp-*classes.tif"))
    assert not run_units(units, work.predict, out, describe=work.describe)
    merge(units, out)
    assert hashes(out) == hashes(by_one)


def test_any_number_of_workers_stopped_between_slides_make_the_same_bytes(run, slides, by_one, tmp_path):
    units = units_of(run, slides)
    asked = iter([False, False, True])
    with pytest.raises(Interrupted) as stopped:
        run_units(units, work.predict, tmp_path, describe=work.describe, workers=4, worker=3, stop=lambda: next(asked))
    assert exit_status(stopped.value) == 75 and 1 <= len(list(tmp_path.glob("done/*.json"))) < 4
    for worker in (1, 0):
        assert not run_units(units, work.predict, tmp_path, describe=work.describe, workers=2, worker=worker)
    merge(units, tmp_path)
    assert hashes(tmp_path) == hashes(by_one)


def test_slides_that_cutting_refuses_are_refused_and_the_others_go_on(run, slides, tmp_path):
    inverted = tmp_path / "dark.tif"
    write_slide(inverted, np.full((512, 512, 3), 5, np.uint8), mpp=2.0)
    bad = Slide(inverted, "P9", "ER", "S", "D", "test", None, None, None)
    units = units_of(run, [bad, slides[1]], probabilities=False)
    (failed,) = run_units(units, work.predict, tmp_path / "out", describe=work.describe)
    assert failed.unit == "dark" and failed.reason.startswith("BadSlide: inverted: The background is dark")
    assert sorted(hashes(tmp_path / "out")) == sorted(work.names(units[1]).values())
    assert not any(name.endswith("probabilities.tif") for name in hashes(tmp_path / "out"))
    with pytest.raises(UserError, match=r"dark\.tif: .*no annotation"):
        units_of(run, [bad], region="annotations")


def test_annotations_alone(run, slides, tmp_path):
    (unit,) = units = units_of(run, [slides[2]], region="annotations", cell_px=2)
    assert not run_units(units, work.predict, tmp_path, describe=work.describe)
    (record,) = merge(units, tmp_path)
    classes = tifffile.imread(tmp_path / work.names(unit)["classes.tif"])
    assert classes.shape == (256, 256) and (classes[:, :192] != IGNORED).all() and (classes[:, 192:] == IGNORED).all()
    assert record.facts["cells"]["region"] == 256 * 192 and record.facts["cell_um"] == 4.0
