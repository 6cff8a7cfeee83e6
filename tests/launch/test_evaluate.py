"""`mlseg evaluate` on a run with teachers: refusals at once, processes that end with 75, the ledger of final-unseen."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from launch.cli import main
from mlseg_core.files import sha256_file
from mlseg_dist.evaluation import ledger
from tests.mlseg_dist.evaluation.subjects import evaluated, subject_of
from tests.mlseg_dist.labelling.rounds import lively_run
from tests.mlseg_dist.tiny_run import plain_config
from tests.shards.slides_for_tests import shards_config


@pytest.fixture(autouse=True)
def _home(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return lively_run(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def run(made) -> Path:
    """A run folder with the teachers of both steps, and a campaign.yaml."""
    raw = plain_config()
    raw |= {
        "name": made.path.name,
        "runs": str(made.path.parent),
        "slides": str(made.path.parent / "slides" / "slides.csv"),
        "shards": shards_config().model_dump(mode="json"),
        "evaluate": {**raw["evaluate"], "pictures": 2},
        "cluster": {"executor": "local"},
    }
    (made.path / "campaign.yaml").write_text(yaml.safe_dump(raw))
    return made.path


def mlseg(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--split", "tset"], "--split"),
        (["--split", "final-unseen"], "no annotated slide of final-unseen"),
        (["--steps", "base,nope"], "no step 'nope'. There are: base, master-1."),
        (["--threshold", "0.3"], "Choose it on val"),
        (["--split", "val", "--threshold", "3"], "threshold"),
        (["--workers", "0"], "--workers"),
        (["--out", "{run}/phases/09-evaluate"], "the campaign's own files lie there"),
        (["--out", "{run}/campaign.yaml/there"], "is a file, not a folder"),
        (["--against", "{run}/nowhere"], "no such config file"),
    ],
)
def test_mistakes_are_one_line_and_status_2(run, words, said, capsys):
    assert mlseg("evaluate", run, *(word.format(run=run) for word in words)) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1, err
    assert not (run / "evaluations").exists()


def test_a_refusal_needs_no_torch(run):
    code = "import sys; from launch.cli import main; s = main(sys.argv[1:]); print(s, 'torch' in sys.modules)"
    words = [sys.executable, "-c", code, "evaluate", str(run), "--split", "test", "--threshold", "0.4"]
    ended = subprocess.run(words, capture_output=True, text=True, check=False)
    assert ended.stdout == "2 False\n", ended.stderr


def test_interrupted_it_ends_with_75_and_goes_on_to_what_one_process_makes(made, run, tmp_path, capsys):
    words = [sys.executable, "-m", "launch.cli", "evaluate", str(run), "--split", "test", "--split", "val"]
    process = subprocess.Popen([*words, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    done = run / "evaluations" / "counts" / "done"
    deadline = time.monotonic() + 120
    while not list(done.glob("*.json")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 75, said
    assert not (run / "evaluations" / "test+val" / "evaluation.json").exists()
    assert mlseg("evaluate", run, "--split", "test", "--split", "val") == 0
    out = capsys.readouterr().out
    assert "mean IoU" in out and max(map(len, out.splitlines()[:-1])) <= 80
    found = run / "evaluations" / "test+val" / "evaluation.json"
    assert out.splitlines()[-1] == str(found)
    evaluated(subject_of(made, splits=["test", "val"]), tmp_path)
    assert sha256_file(found) == sha256_file(tmp_path / "out" / "evaluation.json")


def test_final_unseen_opens_once_also_from_a_copy(run, tmp_path, capsys):
    mine = tmp_path / "runs" / "mine"
    shutil.copytree(run, mine)
    corpus = mine / "data" / "shards" / "manifest.json"
    corpus.write_text(corpus.read_text().replace('"dev-unseen"', '"final-unseen"'))
    shutil.copytree(mine, tmp_path / "before")
    words = ("--split", "final-unseen", "--steps", "master-1")
    assert mlseg("evaluate", mine, *words) == 0
    shutil.copytree(mine, tmp_path / "after")
    capsys.readouterr()
    for folder in (mine, tmp_path / "before", tmp_path / "after"):
        assert mlseg("evaluate", folder, *words) == 2
        err = capsys.readouterr().err
        assert "final-unseen was opened before" in err and err.count("\n") == 1
    assert mlseg("evaluate", mine, *words, "--again", "reviewer 2 asked") == 0
    first, second = ledger.read(mine, sha256_file(corpus))
    assert second.reason == "reviewer 2 asked" and first.finished and second.finished


def test_against_a_copy_nothing_differs_and_nothing_is_written_there(run, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(run, other)
    before = sorted(path.relative_to(other) for path in other.rglob("*"))
    assert mlseg("evaluate", run, "--split", "test", "--steps", "base", "--against", other) == 0
    assert sorted(path.relative_to(other) for path in other.rglob("*")) == before
    found = json.loads((run / "evaluations" / "test-of-base-against-other" / "evaluation.json").read_text())
    assert found["against"]["name"] == "other"
    assert [row["miou"]["value"] for row in found["against"]["differences"]["test"]] == [0.0]
    assert "test: base minus base of other: +.000" in capsys.readouterr().out
