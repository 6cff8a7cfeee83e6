"""One config is one campaign, from wherever it is started; runs of earlier versions keep their fingerprints."""

import json
import os
from pathlib import Path

import yaml

from launch.campaign import enter_working_folder, load_where, prepare
from launch.cli import main
from launch.completion import recipe_hash
from launch.config import CampaignConfig, load_campaign
from launch.graph import build_graph
from launch.paths import base_of
from launch.run_folder import RunFolder

PROJECT = Path(__file__).parents[2]


def edit(config: Path, **changes: object) -> Path:
    raw = {**yaml.safe_load(config.read_text()), **changes}
    config.write_text(yaml.safe_dump({key: value for key, value in raw.items() if value is not None}))
    return config


def at(folder: Path, monkeypatch) -> None:
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)


def test_a_file_in_the_project_starts_at_the_project_and_another_at_its_own_folder(tmp_path, monkeypatch) -> None:
    assert base_of(PROJECT / "configs" / "demo.yaml") == PROJECT
    at(tmp_path / "away", monkeypatch)
    assert load_campaign(PROJECT / "configs" / "demo.yaml").folder == PROJECT / "runs" / "demo"
    assert base_of(Path("../mine.yaml")) == tmp_path
    monkeypatch.chdir(PROJECT / "configs")
    assert base_of(Path("demo.yaml")) == PROJECT
    assert base_of(Path("../../x/../y.yaml")) == PROJECT.parent.resolve()


def test_one_config_is_one_campaign_from_two_places(config_path: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    edit(config_path, runs=None)
    for place in ("here", "there"):
        at(tmp_path / place, monkeypatch)
        prepare(load_where(config_path, []))
        assert main(["status", str(config_path)]) == 0
    assert [path.parent for path in tmp_path.rglob("campaign.yaml")] == [tmp_path / "runs" / "tiny"]
    recorded = yaml.safe_load((tmp_path / "runs" / "tiny" / "campaign.yaml").read_text())
    assert recorded["runs"] == str(tmp_path / "runs")


def test_paths_of_the_file_and_of_the_command_line_are_absolute_in_the_resolved_config(
    config_path: Path, tmp_path: Path, monkeypatch
) -> None:
    edit(config_path, runs="runs", slides="mine.csv", phantom=None)
    at(tmp_path / "there", monkeypatch)
    config = load_campaign(config_path)
    assert (config.runs, config.slides) == (tmp_path / "runs", tmp_path / "mine.csv")
    config = load_campaign(config_path, ["slides=other.csv", "train.cache_dir=cache"])
    assert (config.slides, config.train.cache_dir) == (tmp_path / "there" / "other.csv", tmp_path / "there" / "cache")
    tiles = {"folder": "glas", "images": "{name}.png", "masks": "{name}.png", "mpp": 0.5, "classes": {"1": "x"}}
    edit(config_path, slides=None, tiles=tiles)
    assert load_campaign(config_path).tiles.folder == tmp_path / "glas"


def earlier_run(config_path: Path, tmp_path: Path) -> RunFolder:
    """As commit 37b9573 left it: relative paths, started in tmp_path/work, no id."""
    tiles = {"folder": "glas", "images": "{name}.png", "masks": "{name}.png", "mpp": 0.5, "classes": {"1": "x"}}
    edit(config_path, runs=None, phantom=None, tiles=tiles)
    old = load_campaign(config_path).model_dump(mode="json")
    old |= {"runs": "runs", "tiles": {**old["tiles"], "folder": "glas"}}
    work = tmp_path / "work"
    run = RunFolder(work / "runs" / "tiny")
    run.path.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(work)
    try:
        run.freeze_code()
    finally:
        os.chdir(before)
    (run.code / "launch/run_folder/identity.py").unlink()  # the frozen code knows no ids
    run.config_path.write_text(yaml.safe_dump(old))
    return run


def test_a_run_of_an_earlier_version_is_found_and_keeps_its_fingerprints(
    config_path: Path, tmp_path: Path, monkeypatch
) -> None:
    run = earlier_run(config_path, tmp_path)
    old = CampaignConfig.model_validate_json(json.dumps(yaml.safe_load(run.config_path.read_text())))
    before = {phase.name: recipe_hash(old, phase) for phase in build_graph(old) if phase.kind != "shards"}
    content = run.config_path.read_text()
    at(tmp_path / "work", monkeypatch)
    for where in (config_path, Path("runs/tiny"), run.path):
        config = load_where(where, [])
        assert RunFolder.of(config).path == run.path
        assert {
            phase.name: recipe_hash(config, phase) for phase in build_graph(config) if phase.kind != "shards"
        } == before
        prepare(config)
        assert run.config_path.read_text() == content and not (run.path / "run.json").exists()
    at(tmp_path / "elsewhere", monkeypatch)
    config = load_where(run.path, [])
    assert recipe_hash(config, build_graph(config)[0]) == before["slides"] and config.folder == run.path
    enter_working_folder(run)
    assert Path.cwd() == tmp_path / "work"  # where its tiles start


def test_a_command_writes_where_it_was_called(config_path: Path, tmp_path: Path, monkeypatch, capsys) -> None:
    config = load_campaign(config_path)
    prepare(config)
    at(tmp_path / "there", monkeypatch)
    assert main(["plan", str(RunFolder.of(config).path), "--graph", "plan.svg"]) == 0
    assert (tmp_path / "there" / "plan.svg").exists()


def test_a_symbolic_link_to_the_folder_is_no_change(config_path: Path, tmp_path: Path) -> None:
    edit(config_path, runs="runs")
    prepare(load_where(config_path, []))
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    config = load_where(link / "tiny.yaml", [])
    before = (tmp_path / "runs" / "tiny" / "campaign.yaml").read_text()
    prepare(config)
    assert (tmp_path / "runs" / "tiny" / "campaign.yaml").read_text() == before
