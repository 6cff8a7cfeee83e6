"""A bundle answers as its run does, without the run; its predict.py needs no mlseg; nothing that is nobody's business is in it."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image

pytest.importorskip("onnxruntime", reason="the extra `bundle` is not installed")
pytest.importorskip("onnx", reason="the extra `bundle` is not installed")
pytest.importorskip("safetensors", reason="the extra `bundle` is not installed")

from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import sha256_file
from mlseg_dist.bundle.make import FILES, make_bundle
from mlseg_dist.bundle.onnx_file import TOLERANCE
from mlseg_dist.prediction import work
from mlseg_dist.prediction.plan import units
from mlseg_dist.teachers.network import read_weights
from mlseg_dist.teachers.of_bundle import is_bundle, read_bundle
from tests.mlseg_dist.labelling.rounds import lively_run
from tests.mlseg_dist.prediction.made import named, slide_of, teacher_of
from tests.mlseg_dist.tiny_run import SLIDES, TinyRun
from tests.shards.slides_for_tests import write_slide


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    return lively_run(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module", params=[0, 1], ids=["base", "master-1"])
def bundle(run, request, tmp_path_factory) -> tuple[Path, int]:
    out = tmp_path_factory.mktemp("out") / "bundle"
    made = make_bundle(teacher_of(run, request.param), run.manifest, None, [], out)
    assert made["difference"] <= TOLERANCE
    return out, request.param


def test_a_bundle_holds_the_teacher_word_for_word(run, bundle):
    folder, step = bundle
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES) and is_bundle(folder)
    of_run, of_bundle = teacher_of(run, step), read_bundle(folder)
    assert of_bundle.config == of_run.config
    ours, theirs = read_weights(of_run), read_weights(of_bundle)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_predictions_of_a_bundle_are_those_of_its_run(run, bundle, tmp_path):
    folder, step = bundle
    found = []
    for place, teacher in (("run", teacher_of(run, step)), ("bundle", read_bundle(folder))):
        (unit,) = todo = units(teacher, [named(slide_of(run, 1))])
        assert not run_units(todo, work.predict, tmp_path / place, describe=work.describe)
        made = tmp_path / place / unit.name
        found.append(
            [sha256_file(made / name) for name in ("classes.ome.tif", "probability.ome.tif", "regions.geojson")]
        )
    assert found[0] == found[1]


def test_its_predict_py_gives_the_same_classes_with_four_packages(run, bundle, tmp_path):
    """In a process that refuses to import torch and our own packages."""
    folder, step = bundle
    code = (folder / "predict.py").read_text()
    assert len(code.splitlines()) < 100
    slide = tmp_path / "slide.tif"
    picture = tifffile.imread(slide_of(run, 2))
    write_slide(slide, picture, mpp=2.0, levels=1)
    guard = (
        "import runpy, sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name.partition('.')[0] in ('torch', 'mlseg_core', 'mlseg_dist', 'shards', 'launch', 'tifffile', 'cv2'):\n"
        "            raise ImportError(name)\n"
        "sys.meta_path.insert(0, Refuse())\n"
        "sys.argv = sys.argv[1:]\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    words = [sys.executable, "-c", guard, str(folder / "predict.py"), str(slide), str(tmp_path / "map.png"), "2.0"]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "tumour: " in ended.stdout
    (unit,) = todo = units(teacher_of(run, step), [named(slide)], everywhere=True)
    assert not run_units(todo, work.predict, tmp_path / "out", describe=work.describe)
    ours = tifffile.imread(tmp_path / "out" / unit.name / "classes.ome.tif")
    theirs = np.asarray(Image.open(tmp_path / "map.png"))
    assert ours.shape == theirs.shape and len(np.unique(ours)) > 1
    assert (ours == theirs).mean() > 0.9999, (ours != theirs).sum()  # a tie at the threshold may fall either way


def test_its_predict_py_runs_in_an_environment_of_its_own(run, bundle, tmp_path):
    """The interpreter sees the standard library and these four packages, and nothing else that is installed."""
    folder, _ = bundle
    site = tmp_path / "site-packages"
    site.mkdir()
    for name in ("numpy", "onnxruntime", "openslide", "openslide_bin", "PIL"):
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations:  # openslide_bin may be the system's library
            (site / name).symlink_to(Path(next(iter(spec.submodule_search_locations))))
            for libraries in ("numpy.libs", "pillow.libs"):
                there = (site / name).resolve().parent / libraries
                if there.is_dir() and not (site / libraries).exists():
                    (site / libraries).symlink_to(there)
    slide = tmp_path / "slide.tif"
    write_slide(slide, tifffile.imread(slide_of(run, 2))[:128, :128], mpp=2.0, levels=1)
    code = (
        "import importlib.util, runpy, sys\n"
        "site, *sys.argv = sys.argv[1:]\n"
        "assert not importlib.util.find_spec('numpy'), 'the interpreter sees more than the standard library'\n"
        "sys.path.append(site)\n"
        "seen = [n for n in ('torch', 'mlseg_core', 'shards', 'tifffile', 'cv2', 'yaml') if importlib.util.find_spec(n)]\n"
        "assert not seen, seen\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    words = [sys.executable, "-I", "-S", "-c", code, site, folder / "predict.py", slide, tmp_path / "map.png", "2.0"]
    ended = subprocess.run(list(map(str, words)), capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert "tumour: " in ended.stdout and np.asarray(Image.open(tmp_path / "map.png")).shape == (128, 128)


def test_the_card_says_what_it_is_and_names_nobody(bundle):
    folder, _ = bundle
    card = (folder / "README.md").read_text()
    assert "| train | ER | Philips | DS1 | 1 | 1 |" in card and "This step was not evaluated" in card
    for name in FILES:
        content = (folder / name).read_bytes()
        for slide, patient, *_ in SLIDES:
            assert len(slide) < 3 or slide.encode() not in content, name
            assert f'"{patient}"'.encode() not in content and f"| {patient} |".encode() not in content
        assert os.fsencode(Path.home()) + b"/" not in content and b"pytest-of" not in content


def test_damage_is_named_and_a_foreign_folder_stays(run, bundle, tmp_path):
    folder, step = bundle
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in FILES:
        (copy / name).write_bytes((folder / name).read_bytes())
    (copy / "weights.safetensors").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"weights\.safetensors: the teacher's weights are missing or damaged"):
        read_bundle(copy).check_weights()
    (copy / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="the bundle's weights are missing"):
        read_bundle(copy)
    raw = json.loads((copy / "teacher.json").read_text())
    raw["teacher"]["threshold"] = 0.5
    (copy / "teacher.json").write_text(json.dumps(raw))
    with pytest.raises(UserError, match="unknown key"):
        read_bundle(copy)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.docx").write_text("mine")
    with pytest.raises(UserError, match=r"holds thesis\.docx, which is no part of a bundle"):
        make_bundle(teacher_of(run, step), run.manifest, None, [], mine)
    assert [path.name for path in mine.iterdir()] == ["thesis.docx"]
    assert not list(tmp_path.glob(".tmp-*"))
