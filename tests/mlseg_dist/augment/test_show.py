"""`mlseg augment show`: the pictures are those of training's draws, the page needs nothing but itself."""

import re
from io import BytesIO

import numpy as np
import pytest
import yaml
from PIL import Image

from launch.cli import main
from mlseg_dist.augment import Parameters, augment, draw_parameters
from mlseg_dist.augment.parameters import OPS
from mlseg_dist.augment.show import sheets, spread
from mlseg_dist.augment.show.sources import read_sources
from tests.launch.conftest import tiny_campaign
from tests.mlseg_dist.augment.scene import policy
from tests.mlseg_dist.tiny_run import tiny_run

FOREIGN = [
    {"op": "albumentations", "transform": "InvertImg"},
    {"op": "albumentations", "transform": "GaussNoise", "p": 0.25, "params": {"std_range": [0.1, 0.2]}},
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("show"))


@pytest.fixture(scope="module")
def sources(run):
    return read_sources(run.config, run.path / "data" / "shards")


def campaign(folder, run):
    """A campaign file whose classes and views are those of the painted corpus."""
    path = tiny_campaign(folder)
    raw = yaml.safe_load(path.read_text())
    raw["train"]["patch_px"], raw["shards"]["store_px"] = 32, 64
    raw["steps"][0]["augment"] = [{"op": "rotate"}, {"op": "heavy_colour", "p": 0.5}, *FOREIGN]
    raw["steps"][1]["augment"] = [{"op": "rotate"}, {"op": "flip"}, {"op": "gan_style"}]
    raw["style"] = {"crop_px": 64}
    path.write_text(yaml.safe_dump(raw))
    return path


def test_show_writes_a_page_and_a_picture_of_every_op_and_policy(run, tmp_path, capsys):
    shards, config = run.path / "data" / "shards", campaign(tmp_path, run)
    outs = [tmp_path / name for name in ("one", "two", "other-seed")]
    for out, seed in zip(outs, ("3", "3", "4"), strict=True):
        assert main(["augment", "show", str(config), "--shards", str(shards), "--out", str(out), "--seed", seed]) == 0
    assert capsys.readouterr().out.splitlines() == [str(out / "index.html") for out in outs]
    names = {path.name for path in outs[0].iterdir()}
    expected = {f"op-{name}.png" for name in OPS} | {
        "op-albumentations-InvertImg.png",
        "op-albumentations-GaussNoise.png",
        "policy-base.png",
        "policy-master-1.png",
        "spread.png",
        "index.html",
    }
    assert names == expected
    page = (outs[0] / "index.html").read_text()
    assert page == (outs[1] / "index.html").read_text(), "the same seed gives the same page"
    assert (outs[0] / "policy-base.png").read_bytes() != (outs[2] / "policy-base.png").read_bytes()
    assert page.count("<img") == len(OPS) + len(FOREIGN) + 3
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "nothing is loaded from elsewhere"
    assert "heavy_colour (0.5), albumentations InvertImg, albumentations GaussNoise (0.25)" in page
    assert (
        "transform GaussNoise, params {std_range: [0.1, 0.2]}" in page
        and "gan_style (0.3); images of gan_style are shown by mlseg style show" in page
    )
    width = (1 + 6) * sheets.TILE_PX
    assert Image.open(outs[0] / "policy-base.png").size[0] > width


def test_a_sheet_shows_the_draws_of_training(sources, run):
    step = run.config.steps[0]
    drawn = sheets.sheet(sources, step.augment, 5, step.name, 2)
    views = sources.views[sources.chosen]
    share = sources.mpp["high"] / sources.mpp["low"]
    patch = run.config.train.patch_px
    first = sheets.column(augment(views, Parameters(), sources.mpp, patch), share)
    last = sheets.column(augment(views, draw_parameters(step.augment, 5, step.name, 1), sources.mpp, patch), share)
    assert np.array_equal(drawn[:, : sheets.TILE_PX], first) and np.array_equal(drawn[:, -sheets.TILE_PX :], last)


def test_the_spread_grows_with_heavy_colour_and_not_with_geometry(run):
    steps = [
        run.config.steps[0].model_copy(update={"name": name, "augment": ops})
        for name, ops in {
            "still": policy(),
            "turned": policy("rotate"),
            "heavy": policy("heavy_colour"),
        }.items()
    ]
    config = run.config.model_copy(update={"steps": tuple(steps)})
    found = spread.spreads(read_sources(config, run.path / "data" / "shards"), 1)
    assert found["still"].hue == pytest.approx(found["as stored"].hue)
    assert abs(found["turned"].hue - found["as stored"].hue) < 10
    assert found["heavy"].hue > found["as stored"].hue + 20
    assert all(one.density.sum() == pytest.approx(1) for one in found.values())
    assert Image.open(BytesIO(spread.figure(found))).size[0] > 500


def test_without_a_corpus_one_line_says_what_to_do(run, tmp_path, capsys):
    config = campaign(tmp_path, run)
    assert main(["augment", "show", str(config)]) == 2
    said = capsys.readouterr().err
    assert "no corpus yet" in said and "--shards DIR" in said and said.count("\n") == 1
    assert main(["augment", "show", str(config), "--shards", str(tmp_path / "nothing")]) == 2
    wide = ["train.patch_px=96", "shards.store_px=96"]
    assert main(["augment", "show", str(config), *wide, "--shards", str(run.path / "data" / "shards")]) == 2
    assert "stores 64 px, the config wants 96" in capsys.readouterr().err
