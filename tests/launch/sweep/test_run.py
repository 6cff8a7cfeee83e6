"""A sweep of two tiny campaigns: what is equal is done once, what is interrupted goes on, what is finished leaves a row."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from launch.cli import main
from launch.sweep.config import arms_of, choose, load_sweep
from mlseg_core.files import read_json, sha256_file
from tests.launch.conftest import tiny_campaign

GAIN = {"name": "gain", "of": {"arm": "faster"}, "over": {"arm": "plain"}, "at_least": -1.0}


def write_sweep(folder: Path, **changes: object) -> Path:
    """A sweep file beside its campaign."""
    tiny_campaign(folder)
    raw = {
        "name": "trial",
        "hypothesis": "a higher learning rate does no harm",
        "budget": "a minute",
        "stop": "never",
        "campaign": "tiny.yaml",
        "overrides": ["train.engine=ddp", "cluster.train.nodes=1"],
        "arms": {"plain": [], "faster": ["steps.master-1.lr=0.01"]},
        "seeds": [3],
        "compare": [GAIN],
        **changes,
    }
    path = folder / "trial.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
    return path


def start(path: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "launch.cli", "sweep", path, "--out", out]
    return subprocess.Popen([str(word) for word in command], start_new_session=True, stdout=subprocess.DEVNULL)


def test_a_sweep_shares_phases_goes_on_after_a_signal_and_ends_with_its_table(tmp_path, capsys):
    path, out, rows = write_sweep(tmp_path), tmp_path / "runs" / "sweep-trial", tmp_path / "rows" / "trial"
    running = start(path, out)
    deadline = time.monotonic() + 300
    while not (rows / "plain-3.json").exists():
        assert running.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(running.pid, signal.SIGTERM)
    assert running.wait(60) == 75
    first = sha256_file(rows / "plain-3.json")
    assert not (rows / "faster-3.json").exists()
    assert start(path, out).wait(300) == 0
    assert sha256_file(rows / "plain-3.json") == first, "a finished arm is not run again"
    done = {json_.parent.name: read_json(json_) for json_ in (out / "faster-3").glob("phases/*/done.json")}
    adopted = {name.partition("-")[2] for name, record in done.items() if "adopted_from" in record}
    assert adopted == {"slides", "shards", "base", "label-1"}
    weights = [read_json(found)["sha256"] for found in sorted(out.glob("*/phases/*-base/teacher.json"))]
    assert len(weights) == 2 and weights[0] == weights[1]
    assert len({read_json(found)["sha256"] for found in out.glob("*/phases/*-master-1/teacher.json")}) == 2
    row = json.loads((rows / "faster-3.json").read_text())
    assert row["steps"] == ["base", "master-1"] and row["core_hours"] > 0
    assert {slide["split"] for slide in row["slides"]} == {"val", "test"}
    assert all(len(counts) == 9 for slide in row["slides"] for counts in slide["confusions"].values())
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "| gain | test, 1 patients |" in said and "2 of 2 arms are finished" in said
    assert (tmp_path / "rows" / "trial.md").read_text() in said
    take_over_from_another_sweep(tmp_path, rows)
    refuse_other_settings(tmp_path, out, capsys)


def take_over_from_another_sweep(folder: Path, rows: Path) -> None:
    """What a sweep beside this one has done is not done again: a row is found there, and without the row the phases are."""
    path = write_sweep(folder, name="other", arms={"again": []}, compare=[])
    out = folder / "runs" / "sweep-other"
    for name, text in (("package.json", "{}"), ("broken.json", "{")):
        (folder / "rows" / "somebody").mkdir(exist_ok=True)
        (folder / "rows" / "somebody" / name).write_text(text)
    assert main(["sweep", str(path), "--out", str(out)]) == 0
    assert not out.exists()
    text = (folder / "rows" / "other.md").read_text()
    assert "- again, seed 3: trial/plain" in text and "1 of 1 arms are finished; 0.0 core hours" in text
    assert main(["sweep", str(path), "--out", str(out), "--rows", str(folder / "elsewhere" / "other")]) == 0
    done = {found.parent.name: read_json(found) for found in (out / "again-3").glob("phases/*/done.json")}
    assert {name.partition("-")[2] for name, record in done.items() if "adopted_from" not in record} <= {"report"}
    first, again = (
        json.loads(row.read_text()) for row in (rows / "plain-3.json", folder / "elsewhere" / "other" / "again-3.json")
    )
    assert [slide["confusions"] for slide in again["slides"]] == [slide["confusions"] for slide in first["slides"]]


def refuse_other_settings(folder: Path, out: Path, capsys) -> None:
    """A row of other settings is never taken for this one's; a table needs no run folder."""
    path = write_sweep(folder, arms={"plain": ["steps.base.lr=0.5"], "faster": []})
    assert main(["sweep", str(path), "--out", str(out)]) == 2
    assert "the row was made with other settings" in capsys.readouterr().err
    path = write_sweep(folder, compare=[{**GAIN, "at_least": 1.0}])
    assert main(["sweep", str(path), "--table"]) == 1
    assert "not reached" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("only", "keys"),
    [
        (None, ["plain-3", "faster-3", "plain-5", "faster-5"]),
        (["faster-5", "plain"], ["faster-5", "plain-3", "plain-5"]),
        (["plain-3", "plain-3"], ["plain-3"]),
    ],
)
def test_only_the_arms_that_are_named_run_in_the_order_of_their_names(tmp_path, only, keys):
    path = write_sweep(tmp_path, seeds=[3, 5])
    arms = list(arms_of(load_sweep(path), path, tmp_path / "runs"))
    assert [arm.key for arm in choose(arms, only)] == keys


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--jobs", "0"], "0 campaigns at a time"),
        (["--only", "nobody"], "no arm 'nobody'"),
        (
            ["--only", "plain-4"],
            "no arm 'plain-4'. There are: plain, faster; with one seed: ARM-SEED, seeds 3.",
        ),
    ],
)
def test_a_wrong_option_is_one_line(tmp_path, capsys, words, said):
    assert main(["sweep", str(write_sweep(tmp_path)), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_campaign_that_is_not_there_is_one_line(tmp_path, capsys):
    path = write_sweep(tmp_path, campaign="nobody.yaml")
    assert main(["sweep", str(path), "--out", str(tmp_path / "runs")]) == 2
    assert "no such campaign file" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
    path = write_sweep(tmp_path, arms={"plain": ["steps.base.lrr=1"]})
    assert main(["sweep", str(path), "--out", str(tmp_path / "runs")]) == 2
