"""`mlseg style` on a shards folder alone: train, apply, show, and a training that reads what was made."""

import json
from pathlib import Path

import pytest
import yaml
from PIL import Image

from launch.cli import main
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.style.sheet import ROWS, TILE_PX
from tests.launch.conftest import tiny_campaign
from tests.mlseg_dist.style.two_scanners import SMALL, two_scanners
from tests.mlseg_dist.tiny_run import plain_config


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return two_scanners(tmp_path_factory.mktemp("cli"))


def words(action: str, folder: Path, shards: Path, *more: str) -> list[str]:
    style = SMALL.model_dump(mode="json", exclude_defaults=True)
    config = tiny_campaign(folder, style=style)
    raw = yaml.safe_load(config.read_text())
    raw["train"]["precision"] = "fp32"
    config.write_text(yaml.safe_dump(raw))
    return ["style", action, str(config), "--shards", str(shards), "--out", str(folder), *more]


def test_from_a_shards_folder_to_styled_shards_and_pictures(shards, tmp_path, capsys):
    assert main(words("apply", tmp_path, shards)) == 2
    assert "mlseg style train" in capsys.readouterr().err
    assert main(words("train", tmp_path, shards, "--pair", "Philips", "Morphle")) == 0
    assert main(words("train", tmp_path, shards)) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert [(one["source"], one["target"]) for one in said] == [
        ("Philips", "Morphle"),
        ("Morphle", "Philips"),
        ("Philips", "Morphle"),
    ]
    assert said[0] == said[2], "what is finished is left"
    assert main(words("apply", tmp_path, shards)) == 0
    assert capsys.readouterr().out.splitlines()[-1] == str(tmp_path / "styled" / "manifest.json")
    corpus = Corpus(shards, plain_config()["training_classes"], None, tmp_path / "styled")
    assert corpus.styled is not None and len(corpus.styled.manifest.shards) == 4
    assert main(words("show", tmp_path, shards, "--pair", "Philips", "Morphle")) == 0
    path = Path(capsys.readouterr().out.strip())
    with Image.open(path) as sheet:
        assert path.parent == tmp_path / "generators" / "Philips--Morphle" and sheet.size[1] > 2 * ROWS * TILE_PX


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--pair", "Philips", "Motic"], "There are: Morphle Philips, Philips Morphle"),
        (["style.by=source"], "but one source"),
        (["style.crop_px=96"], "the corpus stores 64 px"),
        (["style.by=stain"], "style.by"),
    ],
)
def test_mistakes_are_one_line(shards, tmp_path, capsys, more, said):
    assert main(words("train", tmp_path, shards, *more)) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1
