"""`mlseg review`: what cannot be done is one line, and a corrected slide is the only one that is cut again."""

import json

import pytest
import yaml

from launch.cli import main
from mlseg_core.files import read_json
from mlseg_dist.run_folder import labels_folder
from tests.mlseg_dist.labelling.rounds import lively_run, make, with_label
from tests.mlseg_dist.tiny_run import plain_config
from tests.shards.slides_for_tests import shards_config


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder with two rounds of labels, and a campaign.yaml."""
    made = lively_run(tmp_path_factory.mktemp("review"))
    raw = plain_config()
    raw |= {
        "name": made.path.name,
        "runs": str(made.path.parent),
        "slides": str(made.path.parent / "slides" / "slides.csv"),
        "shards": shards_config().model_dump(mode="json"),
        "cluster": {"executor": "local"},
    }
    (made.path / "campaign.yaml").write_text(yaml.safe_dump(raw))
    return made


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--budget", "0"], "--budget: 0 mm². Give an area above 0."),
        (["--budget", "nan"], "--budget: nan mm²"),
        (["--workers", "0"], "--workers: 0 workers"),
        (["--round", "7"], "--round: no labels of round 7"),
    ],
)
def test_a_mistake_is_one_line(run, capsys, words, said):
    assert main(["review", str(run.path), *words]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1
    assert not (run.path / "review").exists()


def test_it_says_where_the_page_is(run, capsys):
    for step in (0, 1):
        make(run, with_label(run.config, step), labels_folder(run.path, step + 1), step)
    assert main(["review", str(run.path), "--budget", "0.02", "--reason", "conflict"]) == 0
    said = capsys.readouterr().out
    regions = read_json(run.path / "review" / "review.json")["regions"]
    assert f"{regions} regions, " in said and f"{regions} where the teacher contradicts the annotation" in said
    assert said.rstrip().endswith(str(run.path / "review" / "index.html"))
    (path,) = (run.path / "review").glob("*.geojson")
    assert all("contradicts" in one["properties"]["name"] for one in json.loads(path.read_text())["features"])
