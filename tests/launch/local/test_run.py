"""Real phases on this machine: slides and shards are done, and what stops a campaign reaches the user."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.run_folder import find_run
from launch.status import campaign_status
from tests.launch.servers import web_server

MISTAKE = ("loss.heads.answer=0", "train.engine=ddp")
"""Found by the training job, so that a campaign ends after the shards; DDP starts sooner than DeepSpeed."""


def mlseg(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch.cli", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def states(config_path: Path) -> dict[str, str]:
    run = find_run(config_path)
    return {phase.name: phase.state for phase in campaign_status(run, run.config()).phases}


def test_a_mistake_found_in_a_job_is_one_line_and_the_phases_before_it_stay_done(tmp_path: Path, make_campaign) -> None:
    """The base has one head, and its loss has no weight: the training job tells."""
    config, secret = make_campaign(name='it\'s $(touch pwned) "q"'), tmp_path / "hook"
    with web_server() as hook:
        secret.write_text(hook.url)
        ended = mlseg("run", config, *MISTAKE, f"cluster.alerts.webhook_file={secret}")
    (told,) = hook.texts
    assert "a person is needed" in told and "phase base: error: loss.heads: every head (high) has weight 0" in told
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("mlseg: error: phase base: loss.heads: every head (high) has weight 0"), ended.stderr
    assert "(log: " in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert list(states(config).items())[:4] == [
        ("slides", "done"),
        ("shards", "done"),
        ("base", "failed"),
        ("label-1", "waiting"),
    ]
    assert not list(Path.cwd().glob("pwned")) and not list(tmp_path.rglob("pwned"))

    run = find_run(config).path
    done = (run / "phases" / "01-shards" / "done.json").read_bytes()
    edited = mlseg("run", config, *MISTAKE, "shards.store_px=128")
    assert edited.returncode == 2
    assert "no longer valid: shards (its config changed), base (its input shards is to be redone)" in edited.stderr
    assert "--accept" in edited.stderr
    assert (run / "phases" / "01-shards" / "done.json").read_bytes() == done


@pytest.mark.long(
    short="tests/shards/cutting/test_regenerate.py::test_killed_anywhere_the_build_continues_to_the_same_bytes"
)
def test_kill_9_and_start_again_gives_the_same_shards(tmp_path: Path, make_campaign) -> None:
    """The planner is killed while slides are drawn; its processes end, and a new start goes on from the units done."""
    whole, killed = make_campaign("whole"), make_campaign("killed")
    assert mlseg("run", whole, *MISTAKE).returncode == 2

    planner = subprocess.Popen([sys.executable, "-m", "launch.cli", "run", killed, *MISTAKE], start_new_session=True)
    done = tmp_path / "killed" / "runs" / "tiny" / "data" / "slides" / "done"
    deadline = time.monotonic() + 60
    while not list(done.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(planner.pid, signal.SIGKILL)  # the planner alone: its processes have to notice by themselves
    planner.wait()
    assert mlseg("run", killed, *MISTAKE).returncode == 2

    def shards(folder: str) -> dict[str, str]:
        manifest = json.loads((tmp_path / folder / "runs" / "tiny" / "data" / "shards" / "manifest.json").read_text())
        return {shard["name"]: shard["sha256"] for shard in manifest["shards"]}

    assert shards("whole") == shards("killed") != {}


def test_a_signal_between_two_phases_ends_the_campaign(make_campaign) -> None:
    """No task of ours runs at that moment, and the next phase's task may not have said yet that it does."""
    config = make_campaign()
    planner = subprocess.Popen([sys.executable, "-m", "launch.cli", "run", config, *MISTAKE], start_new_session=True)
    done = config.parent / "runs" / "tiny" / "phases" / "00-slides" / "done.json"
    deadline = time.monotonic() + 60
    while not done.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    planner.send_signal(signal.SIGTERM)
    assert planner.wait(60) == 75
    assert states(config)["slides"] == "done" and states(config)["base"] == "waiting"
