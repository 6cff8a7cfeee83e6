"""retry: a failed phase again, here; of one that is done, running or not its turn it says so."""

import subprocess
import sys
from pathlib import Path

import pytest

from launch.cli import main
from launch.config import CampaignConfig
from launch.graph import build_graph
from launch.local.liveness import local_planner
from launch.run_folder import RunFolder
from tests.launch.test_completion import finish


@pytest.fixture
def run(config: CampaignConfig) -> RunFolder:
    """A campaign whose base has failed."""
    from launch.campaign import prepare

    prepare(config)
    run = RunFolder.of(config)
    graph = build_graph(config)
    for phase in graph[:2]:
        finish(config, run, phase)
    run.write_state(graph[2], status="failed", error="it broke")
    return run


@pytest.mark.parametrize(
    ("phase", "said"),
    [
        ("nothing", "no phase 'nothing'"),
        ("label-1", "waits for phase base, which is failed"),
        ("report", "waits for phase base, which is failed"),
    ],
)
def test_what_cannot_be_retried(run: RunFolder, capsys, phase: str, said: str) -> None:
    assert main(["retry", str(run.path), phase]) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1


def test_a_done_phase_is_left_alone(run: RunFolder, capsys) -> None:
    before = (run.path / "phases" / "01-shards" / "done.json").read_bytes()
    assert main(["retry", str(run.path), "shards"]) == 0
    assert capsys.readouterr().out == "phase shards is done already\n"
    assert (run.path / "phases" / "01-shards" / "done.json").read_bytes() == before


def test_a_running_campaign_refuses(run: RunFolder, capsys) -> None:
    with local_planner(run.path):
        assert main(["retry", str(run.path), "base"]) == 2
    assert "is running on this machine" in capsys.readouterr().err


def test_a_failed_phase_goes_on_from_there(make_campaign) -> None:
    """Slides and shards cannot be written at first; once the slides can, retry brings that phase about, and only that."""
    config: Path = make_campaign(name="it's $(touch pwned)")

    def mlseg(*words: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "launch.cli", *map(str, words)]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)

    run = config.parent / "runs" / "it's $(touch pwned)"
    (run / "data").mkdir(parents=True)
    for name in ("slides", "shards"):
        (run / "data" / name).write_text("in the way")
    first = mlseg("run", config)
    assert first.returncode in (1, 2), first.stderr
    assert "phase slides" in first.stderr
    (run / "data" / "slides").unlink()
    second = mlseg("retry", run, "slides")
    assert "slides done" in second.stdout, second.stdout + second.stderr
    assert "phase shards" in second.stderr and second.returncode in (1, 2)
    assert not list(Path.cwd().glob("pwned")) and not list(config.parent.rglob("pwned"))
    assert "phase slides is done already" in mlseg("retry", run, "slides").stdout
