import json
from pathlib import Path

import pytest

from launch.cli import main
from launch.config import CampaignConfig
from launch.run_folder import RunFolder


def test_plan_as_json(config_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(config_path), "--json", "cluster.cut.workers=5"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert [phase["name"] for phase in shown["phases"]][:3] == ["slides", "shards", "base"]
    assert shown["phases"][0]["resources"]["workers"] == 5
    assert not (config_path.parent / "runs").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "missing.yaml"], "no such config file"),
        (["plan", "{config}", "seeed=3"], "unknown key 'seeed'"),
        (["plan", "{config}", "seed=three"], "key 'seed'"),
        (["plan", "{config}", "name=.."], "no name for a run"),
        (["run", "{config}", "name=50%"], "job logs cannot carry"),
        (["status", "{config}"], "no run folder yet"),
        (["predict", "{config}", "slide.svs"], "no run folder yet"),
        (["evaluate", "{config}", "--split", "val", "--out", "x"], "no run folder yet"),
        (["shards", "import", "x", "{config}", "--out", "x"], "has no 'tiles' section"),
    ],
)
def test_mistakes_are_one_line_and_status_2(words, said, config_path: Path, capsys) -> None:
    assert main([word.format(config=config_path) for word in words]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("mlseg: error: ")
    assert err.count("\n") == 1
    assert not (config_path.parent / "runs").exists()


@pytest.mark.parametrize("command", ["run", "plan", "preflight", "rehearse", "resume"])
def test_overrides_are_not_required(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith("the following arguments are required: CONFIG\n")


def test_status_before_anything_ran(config: CampaignConfig, capsys: pytest.CaptureFixture[str]) -> None:
    from launch.campaign import prepare

    prepare(config)
    run = RunFolder.of(config)
    assert main(["status", str(run.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert {phase["state"] for phase in shown["phases"]} == {"waiting"}
    assert not shown["done"]
    assert main(["cancel", str(run.path)]) == 2


def test_report_of_a_run_that_has_just_begun(config: CampaignConfig, capsys: pytest.CaptureFixture[str]) -> None:
    from launch.campaign import prepare

    prepare(config)
    run = RunFolder.of(config)
    assert main(["report", str(run.path), "--single-file"]) == 0
    page = run.report / "report.html"
    assert capsys.readouterr().out.splitlines()[-1] == f"report: {page}"
    assert "not evaluated yet" in page.read_text(encoding="utf-8") and not (run.report / "index.html").exists()
