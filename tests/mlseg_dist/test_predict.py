"""A whole slide comes out where it went in; bad input is one clear line."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tifffile
from PIL import Image

import mlseg_dist.predict as predict
from mlseg_core.errors import UserError
from mlseg_dist.predict import predict_slide
from shards.audit.config import AuditConfig
from tests.mlseg_dist.tiny_run import MPP, SIZE, SLIDES, KnowsColours, tiny_run
from tests.shards.slides_for_tests import tissue_slide, write_slide


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("predict"))


def slide_of(run, number: int):
    return run.path.parent / "slides" / f"{SLIDES[number][0]}.tif"


def test_what_is_painted_comes_out_where_it_was_painted(run, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "load_teacher", lambda *_: KnowsColours())
    slide = slide_of(run, 2)
    summary = predict_slide(run.config, 1, run.path, slide, tmp_path / "out", MPP)
    assert json.loads((tmp_path / "out" / "summary.json").read_text()) == summary
    image = tifffile.imread(slide)
    red, blue = image[..., 0] > 150, image[..., 2] > 150
    px_mm2 = (MPP / 1000) ** 2
    assert summary["areas_mm2"]["tumour"] == pytest.approx((red & ~blue).sum() * px_mm2, rel=0.02)
    assert summary["areas_mm2"]["others"] == pytest.approx((blue & ~red).sum() * px_mm2, rel=0.03)
    assert sum(summary["areas_mm2"].values()) == pytest.approx(summary["tissue_mm2"], abs=1e-5)
    with Image.open(tmp_path / "out" / "classes.png") as classes:
        assert classes.size == (SIZE, SIZE)
        shown = np.asarray(classes).astype(int)
    x, y = 40 + 12 * 2 + 100, 40 + 50
    assert shown[y, x, 0] > shown[y, x, 2] + 80  # in the tumour: red
    assert shown[y + 150, x, 2] > shown[y + 150, x, 0] + 80  # in the dcis: blue
    with Image.open(tmp_path / "out" / "heatmap.png") as heat:
        assert min(heat.size) > 400


@pytest.mark.parametrize("step", [0, 1])
def test_a_real_network_of_either_kind_predicts_a_slide(run, tmp_path, step, capsys):
    summary = predict_slide(run.config, step, run.path, slide_of(run, 1), tmp_path, MPP)
    assert summary["step"] == ("base", "master-1")[step] and summary["patches"] > 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["classes.png", "heatmap.png", "summary.json"]
    assert f"{summary['patches']}/{summary['patches']} patches" in capsys.readouterr().out


def test_bad_input_is_named_and_leaves_nothing(run, tmp_path):
    out = tmp_path / "out"
    slide = slide_of(run, 0)
    with pytest.raises(UserError, match=r"µm/px.*--mpp"):
        predict_slide(run.config, 0, run.path, slide, out)
    with pytest.raises(UserError, match="no such slide"):
        predict_slide(run.config, 0, run.path, tmp_path / "none.svs", out)
    with pytest.raises(UserError, match="sensible"):
        predict_slide(run.config, 0, run.path, slide, out, -1.0)
    with pytest.raises(UserError, match=r"network wants 2"):
        predict_slide(run.config, 0, run.path, slide, out, 9.0)
    write_slide(tmp_path / "says-1.tif", tissue_slide(0), mpp=1.0)
    with pytest.raises(UserError, match=r"2 µm/px was given, but the file states 1 µm/px.*--mpp-override"):
        predict_slide(run.config, 0, run.path, tmp_path / "says-1.tif", out, 2.0)
    with pytest.raises(UserError, match=r"has 9 µm/px and the network wants 2"):
        predict_slide(run.config, 0, run.path, tmp_path / "says-1.tif", out, 9.0, override=True)
    (tmp_path / "broken.svs").write_bytes(b"not a slide")
    with pytest.raises(UserError, match="cannot be opened"):
        predict_slide(run.config, 0, run.path, tmp_path / "broken.svs", out)
    tifffile.imwrite(tmp_path / "glass.tif", np.full((256, 256, 3), 240, np.uint8), tile=(256, 256), photometric="rgb")
    with pytest.raises(UserError, match="no tissue"):
        predict_slide(run.config, 0, run.path, tmp_path / "glass.tif", out, MPP)
    assert not out.exists()


class SaysNoNumber(KnowsColours):
    """Its answer to every view with tumour is no number."""

    def predict(self, high: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]:
        answers = super().predict(high, low)
        answers["merged"][answers["merged"][:, 1].any(axis=(1, 2))] = np.nan
        return answers


def test_answers_that_are_no_numbers_are_told_and_never_shown_as_background(run, tmp_path, monkeypatch):
    monkeypatch.setattr(predict, "load_teacher", lambda *_: SaysNoNumber())
    with pytest.raises(
        UserError, match=r"answer to \d+ of \d+ patches is no number \(the first is centred on x \d+, y \d+\)"
    ):
        predict_slide(run.config, 1, run.path, slide_of(run, 2), tmp_path / "out", MPP)
    assert not (tmp_path / "out").exists()


def test_what_building_shards_would_quarantine_is_not_predicted(run, tmp_path):
    slide = tmp_path / "dark.tif"
    write_slide(slide, np.full((512, 512, 3), 5, np.uint8), mpp=MPP)
    with pytest.raises(
        UserError, match=r"dark\.tif: `shards build` would quarantine .*inverted: The background is dark"
    ):
        predict_slide(run.config, 1, run.path, slide, tmp_path / "out")
    strict = AuditConfig(min_tissue=0.99)
    with pytest.raises(UserError, match=r"b\.tif: `shards build` would quarantine .*empty: Only .* is tissue"):
        predict_slide(run.config, 1, run.path, slide_of(run, 1), tmp_path / "out", MPP, audit=strict)


def test_mistakes_are_told_before_torch_is_loaded(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mlseg_dist.whole_slide.opening import check_named\n"
        "try: check_named(Path(sys.argv[1]), 2.0)\n"
        "except Exception as error: print(type(error).__name__, error, 'torch' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code, tmp_path / "none.svs"], capture_output=True, text=True)
    assert said.stdout.strip() == f"UserError {tmp_path / 'none.svs'}: no such slide. Check the path. False", (
        said.stderr
    )
