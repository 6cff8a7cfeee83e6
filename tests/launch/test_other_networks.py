"""HookNet and DeepLabV3 go a campaign's whole way: trained, teaching, evaluated; and the configs that name them are the paper's
but for the network."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from launch.config import load_campaign
from tests.launch.conftest import tiny_campaign

CONFIGS = Path(__file__).parents[2] / "configs"
SMALL = {"name": "custom", "width": 0.25, "depth": 0.25}


@pytest.mark.long(short="tests/mlseg_dist/model/test_peers.py::test_deeplab_trains_on_a_batch_of_one")
def test_a_campaign_of_deeplab_and_hooknet(tmp_path: Path) -> None:
    path = tiny_campaign(tmp_path)
    raw = yaml.safe_load(path.read_text())
    raw["steps"][0]["model"] = {"kind": "deeplab", "view": "high", "encoder": SMALL}
    raw["steps"][1]["model"] = {"kind": "hooknet", "hooknet": {"filters": 4, "depth": 3}}
    raw["train"]["engine"] = "ddp"
    path.write_text(yaml.safe_dump(raw))
    ended = subprocess.run(
        [sys.executable, "-m", "launch.cli", "run", str(path)], capture_output=True, text=True, timeout=600, check=False
    )
    assert ended.returncode == 0, ended.stderr
    run = tmp_path / "runs" / "tiny"
    labels = json.loads((run / "data" / "labels-1" / "manifest.json").read_text())
    assert labels["shards"], "the DeepLab teacher labelled nothing"
    figures = json.loads((run / "report" / "metrics.json").read_text())
    assert [step["step"] for step in figures["steps"]] == ["base", "master-1"]
    assert all(0 < step[split]["miou"] < 1 for step in figures["steps"] for split in ("val", "test"))


@pytest.mark.parametrize(("name", "kinds"), [("hooknet", ("unet", "hooknet")), ("deeplab", ("deeplab", "deeplab"))])
def test_the_configs_of_other_networks_differ_from_the_papers_in_the_network_alone(name, kinds):
    theirs, papers = load_campaign(CONFIGS / f"paper-{name}.yaml"), load_campaign(CONFIGS / "paper.yaml")
    assert [step.model.kind for step in theirs.steps] == [kinds[0], *[kinds[1]] * 5]
    models = [step.model for step in papers.steps]
    same = [step.model_copy(update={"model": model}) for step, model in zip(theirs.steps, models, strict=True)]
    assert theirs.model_copy(update={"steps": type(theirs.steps)(same), "name": papers.name}) == papers
