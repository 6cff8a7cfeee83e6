"""Files and runs from before there was a block for each kind of work open, mean what they meant, and can be continued."""

import json
import sys
from pathlib import Path

import pytest
import yaml

from launch.campaign import prepare
from launch.completion import recipe_hash
from launch.config import CampaignConfig, load_campaign, load_recorded
from launch.graph import build_graph
from launch.phases import job_of
from launch.resources.blocks import BLOCKS
from launch.run_folder import RunFolder
from launch.slurm.submit import script
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_json

EARLIER = Path(__file__).parent / "earlier"
"""campaign.yaml: as the code of before recorded one.  scripts.json: the batch scripts that it wrote for its three kinds of job."""
THEN = {"map": ("cut", "style", "label", "evaluate"), "train": ("train",), "single": ("small",)}


def recorded(*overrides: str) -> CampaignConfig:
    return load_recorded(EARLIER / "campaign.yaml", Path("/"), overrides)


@pytest.mark.parametrize("then", THEN)
def test_a_recorded_run_has_the_same_batch_scripts(then: str) -> None:
    config, run = recorded(), RunFolder(Path("/runs/earlier"))
    before = json.loads((EARLIER / "scripts.json").read_text())[then]
    for block in THEN[then]:
        now = script(run, config.name, then, config.cluster.job(block))  # type: ignore[arg-type]
        assert now.replace(sys.executable, "PYTHON") == before
    assert config.cluster.generators == "train", "generators went with training"
    assert config.cluster.job("label").workers == 16


def test_overrides_by_both_names_work_on_it() -> None:
    assert {recorded("cluster.default.qos=x").cluster.job(name).qos for name in ("cut", "small")} == {"x"}
    assert recorded("cluster.default.qos=x").cluster.job("train").qos == "long"
    both = recorded("cluster.map.workers=5", "cluster.label.workers=7", "cluster.train.mem_gb=0").cluster
    assert [both.job(name).workers for name in ("cut", "label", "evaluate")] == [5, 7, 5]
    assert both.job("train").mem is None and recorded("cluster.single.mem_gb=3").cluster.job("small").mem == "3GB"


def test_a_persons_earlier_file_extends_todays_and_wins(tmp_path: Path, make_campaign) -> None:
    (tmp_path / "site.yaml").write_text(
        "cluster: {default: {gpus: 8, partition: new}, label: {workers: 3}, train: {gpus: 2, mem: 4G, time: 1:00:00}}\n"
    )
    earlier = {
        "map": {"workers": 64, "gpus_per_node": 0},
        "train": {"gpus_per_node": 4, "mem_gb": 16, "timeout_min": 90},
    }
    path = make_campaign(cluster=earlier)
    raw = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**raw, "extends": [raw["extends"], "site.yaml"]}))
    cluster = load_campaign(path).cluster
    assert [(cluster.job(name).workers, cluster.job(name).gpus) for name in ("cut", "label")] == [(64, 0), (64, 0)]
    train = cluster.job("train")
    assert (train.gpus, train.mem, train.minutes, train.partition) == (4, "16GB", 90, "new")


@pytest.mark.parametrize(
    ("cluster", "told"),
    [
        ({"map": {}, "label": {}}, "cluster.map is the earlier name of cut, style, label, evaluate, and cluster.label is set"),
        ({"single": {}, "small": {}}, "cluster.single is the earlier name of small"),
        ({"train": {"gpus": 1, "gpus_per_node": 1}}, "cluster.train.gpus_per_node is the earlier name of cluster.train.gpus"),
        ({"label": {"mem": "1G", "mem_gb": 1}}, "cluster.label.mem_gb is the earlier name of cluster.label.mem"),
        ({"map": {"time": 60, "timeout_min": 60}}, "cluster.map.timeout_min is the earlier name of cluster.map.time"),
    ],
)  # fmt: skip
def test_one_thing_by_both_its_names_is_refused(make_campaign, cluster: dict, told: str) -> None:
    path = make_campaign(cluster=cluster)
    with pytest.raises(UserError) as refused:
        load_campaign(path)
    assert told in str(refused.value) and str(path) in str(refused.value) and "\n" not in str(refused.value)


def test_fingerprints_do_not_know_where_jobs_run(make_campaign) -> None:
    before = load_campaign(make_campaign(cluster={"map": {"workers": 2}, "train": {"nodes": 2}, "single": {}}))
    after = load_campaign(make_campaign("b", cluster={"default": {"gpus": 8}, "label": {"mem": "1G"}}))
    graph = build_graph(before)
    assert [recipe_hash(before, phase) for phase in graph] == [
        recipe_hash(after, phase) for phase in build_graph(after)
    ]
    assert job_of(before, graph[0]).workers == 2


@pytest.fixture
def begun(make_campaign) -> tuple[Path, RunFolder]:
    """A run that code of before has begun: it recorded the earlier names, and its frozen code knows no others."""
    path = make_campaign(cluster={"executor": "local", "map": {"workers": 2}, "train": {"nodes": 2}, "single": {}})
    run = prepare(load_campaign(path)).run
    raw = yaml.safe_load(run.config_path.read_text())
    earlier = yaml.safe_load((EARLIER / "campaign.yaml").read_text())["cluster"]
    raw["cluster"] = {**earlier, "executor": "local"}
    run.config_path.write_text(yaml.safe_dump(raw, sort_keys=False))
    (run.code / "launch/resources/blocks.py").unlink()
    (run.code / "launch" / "config.py").write_text(
        "from mlseg_core.config import Strict\nclass CampaignConfig(Strict):\n    model_config = {'extra': 'ignore'}\n"
    )
    write_json(run.code / "frozen.json", {**read_json(run.code / "frozen.json"), "hash": "of other code"})
    return path, run


def test_a_run_with_code_of_before_gets_its_changes_by_the_names_that_it_knows(begun: tuple[Path, RunFolder]) -> None:
    _, run = begun
    before = yaml.safe_load(run.config_path.read_text())
    untouched = run.config_path.read_bytes()
    prepare(load_recorded(run.config_path, run.path))
    assert run.config_path.read_bytes() == untouched, "nothing has changed"
    changes = ["cluster.map.workers=3", "cluster.train.time=1-00:00:00", "cluster.single.mem_gb=2"]
    prepare(load_recorded(run.config_path, run.path, changes))
    after = yaml.safe_load(run.config_path.read_text())
    expected = before["cluster"]
    expected["map"]["workers"], expected["train"]["timeout_min"], expected["single"]["mem_gb"] = 3, 1440, 2
    assert after["cluster"] == expected and list(after) == list(before)


@pytest.mark.parametrize("change", ["cluster.label.workers=3", "cluster.train.gpus=h100:8", "cluster.cut.mem=100M"])
def test_what_that_code_cannot_express_is_refused(begun: tuple[Path, RunFolder], change: str) -> None:
    _, run = begun
    untouched = run.config_path.read_bytes()
    with pytest.raises(UserError, match=r"cannot take these resources.*mlseg resume .*--accept-code"):
        prepare(load_recorded(run.config_path, run.path, [change]))
    assert run.config_path.read_bytes() == untouched
    prepare(load_recorded(run.config_path, run.path, [change]), accept_code=True)
    assert set(yaml.safe_load(run.config_path.read_text())["cluster"]) >= set(BLOCKS) - {"small", "predict"}


def test_on_a_run_folder_a_cluster_file_takes_the_place_of_what_was_recorded(tmp_path: Path) -> None:
    site = tmp_path / "other.yaml"
    site.write_text("cluster: {executor: slurm, default: {partition: cpu}, train: {gpus: 4}}\n")
    cluster = load_recorded(EARLIER / "campaign.yaml", Path("/"), ["cluster.train.qos=x"], site).cluster
    assert cluster.model_dump(mode="json", exclude={"retries", "replan"}) == {
        "executor": "slurm",
        "default": {"partition": "cpu"},
        "train": {"gpus": 4, "qos": "x"},
    }
