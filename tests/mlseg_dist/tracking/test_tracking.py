"""W&B: what its files hold, by its own reader, is what metrics.jsonl says; its failure never reaches training."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mlseg_core.config import validate
from mlseg_core.files import write_json
from mlseg_dist.config import LearningConfig
from mlseg_dist.events import Events
from mlseg_dist.tracking import Follower, Tracker, media
from mlseg_dist.tracking.claim import Claim
from mlseg_dist.tracking.rows import number, row
from mlseg_dist.tracking.run import mark_sent
from tests.mlseg_dist import log_process, wandb_files
from tests.mlseg_dist.log_process import Scripted, figures
from tests.mlseg_dist.tiny_run import plain_config

ROOT = Path(__file__).parents[3]
KEY = "a1b2c3d4e5" * 4


def config(**tracking) -> LearningConfig:
    return validate({**plain_config(), "tracking": {"mode": "offline", **tracking}}, LearningConfig, "test")


@pytest.fixture
def phase(tmp_path: Path) -> Path:
    folder = tmp_path / "phases" / "02-base"
    folder.mkdir(parents=True)
    return folder


def expected(phase: Path) -> list[dict]:
    """metrics.jsonl as the rows that W&B is to have."""
    lines = [json.loads(line) for line in (phase / "metrics.jsonl").read_text().splitlines()]
    return [row(line) for line in lines if line["kind"] in ("train", "val")]


def compare(phase: Path) -> list[dict]:
    """The phase's one run folder is whole and says exactly what metrics.jsonl says. Returns its records."""
    found = wandb_files.records(phase)
    assert wandb_files.is_closed(found)
    assert [wandb_files.without_media(r) for r in wandb_files.history(found)] == expected(phase)
    return found


def train(journal: Scripted, first: int, last: int) -> None:
    for step in range(first, last + 1):
        journal.train(figures(step))
        if step % 5 == 0:
            scores = {"miou": 0.4, "iou": {"tumour": 0.5, "others": None}, "accuracy": 0.8, "wce": 0.1, "wdl": 0.2}
            journal.validation(step, scores, step, None, [])  # type: ignore[arg-type]


def test_offline_run_is_metrics_events_and_pictures(phase):
    Events(phase).log("started", "attempt 1", "info")
    journal = Scripted(config(images=True), phase, 0, 20)
    train(journal, 1, 10)
    Events(phase).log("checkpoint-damaged", "<b>step-5</b> is *damaged*, see [it](http://x)", "error", step=5)
    journal.close()
    found = compare(phase)
    run = next(record["run"] for record in found if record["type"] == "run")
    assert (run["run_group"], run["job_type"], run["display_name"]) == ("tiny", "base", "tiny/02-base")
    axes = {
        m["metric"].get("glob_name", m["metric"].get("name")): m["metric"].get("step_metric")
        for m in found
        if m["type"] == "metric"
    }
    assert {axes[name] for name in ("train/*", "val/*", "speed/*", "health/*", "examples")} == {"step"}
    assert axes["acceptance/*"] == "round"
    (alert,) = wandb_files.alerts(found)
    assert alert["level"] == "ERROR" and alert["title"] == "tiny/02-base: fell back to an older checkpoint"
    assert alert["text"].startswith(r"&lt;b&gt;step-5&lt;/b&gt; is \*damaged\*, see \[it\]\(http://x\) \(step 5, host")
    shown = [r for r in wandb_files.history(found) if "examples.count" in r or "examples" in r]
    assert [r["step"] for r in shown] == [5, 10]
    (folder,) = wandb_files.segments(phase)
    pictures = sorted(folder.glob("files/media/images/**/*.png"))
    assert len(pictures) == 8, "at two validations: the view, two masks, and the sheet in the report's colours"
    said = json.dumps([r for r in found if r["type"] == "config"])
    assert all(f'"{name}"' in said for name in ("background", "tumour", "others", "ignored"))


def test_pictures_stay_in_the_run_folder_unless_the_config_says_so(phase):
    journal = Scripted(config(), phase, 0, 20)
    train(journal, 1, 5)
    journal.close()
    found = compare(phase)
    assert media.read_examples(phase, 5)
    (folder,) = wandb_files.segments(phase)
    assert not list(folder.rglob("*.png")) and not [r for r in wandb_files.history(found) if "examples.count" in r]


def test_a_run_says_nothing_of_the_machine_s_user_and_paths(phase):
    journal = Scripted(config(images=True), phase, 0, 20)
    train(journal, 1, 5)
    journal.close()
    found = wandb_files.records(phase)
    (folder,) = wandb_files.segments(phase)
    sent = (folder / f"run-{json.loads((phase / 'wandb' / 'run.json').read_text())['id']}.wandb").read_bytes()
    for word in (str(phase), sys.executable, socket.gethostname(), str(Path.home())):
        assert len(word) < 4 or word.encode() not in sent, word
    assert not [r for r in found if r["type"] == "environment" and r["environment"].keys() & {"root", "host", "args"}]
    assert all("captions" not in str(r) or "pair-5" not in json.dumps(r) for r in found)


def test_pictures_come_back_as_they_were(phase):
    (example,) = log_process.pictures(3)
    media.write_examples(phase, 3, [example])
    (back,) = media.read_examples(phase, 3)
    assert back.key == example.key
    assert all(np.array_equal(getattr(back, n), getattr(example, n)) for n in ("view", "truth", "prediction"))
    media.write_examples(phase, 7, [example])
    media.drop_later(phase, 3)
    assert [path.name for path in (phase / "media").iterdir()] == ["step-3"]


def test_killed_and_started_again_it_is_one_whole_run(phase):
    command = [sys.executable, "-m", "tests.mlseg_dist.log_process", phase, "offline", 0, 12, "kill", 3]
    killed = subprocess.run([str(c) for c in command], cwd=ROOT, timeout=100, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(wandb_files.segments(phase)) == 1
    identity = (phase / "wandb" / "run.json").read_text()
    journal = Scripted(config(), phase, 10, 20)  # continues from the checkpoint of step 10
    train(journal, 11, 20)
    journal.close()
    found = compare(phase)
    assert [r["step"] for r in wandb_files.history(found)].count(11) == 1
    assert (phase / "wandb" / "run.json").read_text() == identity
    assert [a["level"] for a in wandb_files.alerts(found)] == ["ERROR"], "of the first start, once"


def test_a_rollback_takes_back_what_was_written(phase):
    journal = Scripted(config(), phase, 0, 20)
    train(journal, 1, 7)
    first = wait_for(lambda: wandb_files.segments(phase))
    wait_for(lambda: (phase / "wandb" / "sent-offline.json").exists())
    journal.rewind(5)
    assert [json.loads(line)["step"] for line in (phase / "metrics.jsonl").read_text().splitlines()][-1] == 5
    train(journal, 6, 6)
    wait_for(lambda: wandb_files.segments(phase) != first)
    train(journal, 7, 9)
    journal.close()
    compare(phase)


def test_the_signals_of_slurm_do_not_end_it(phase):
    journal = Scripted(config(), phase, 0, 20)
    train(journal, 1, 3)
    wait_for(lambda: list(phase.glob("wandb/offline-run-*/*.wandb")))
    child = journal._tracker._child
    assert child is not None
    for number_ in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
        os.kill(child.pid, number_)
    train(journal, 4, 6)
    journal.close()
    compare(phase)


@pytest.mark.parametrize("answers", [False, True])
def test_an_unreachable_server_costs_training_nothing(phase, monkeypatch, answers):
    """answers: the port takes the connection and stays silent; else it is closed."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers:
            server.listen(50)  # the kernel accepts; nobody ever reads
        monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        journal = Scripted(config(mode="online"), phase, 0, 20)
        took = []
        for step in range(1, 100):
            begun = time.perf_counter()
            journal.train(figures(step))
            took.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        journal.close()
        assert time.perf_counter() - begun < 22
    assert sorted(took)[len(took) // 2] < 1e-3 and sum(took) < 1.0
    compare(phase)  # an offline run, for a later `wandb sync`
    files = [path for path in phase.rglob("*") if path.is_file()]
    assert files and all(KEY.encode() not in path.read_bytes() for path in files)


def test_the_sender_shares_nothing_with_a_wandb_of_the_process_that_started_it(phase, monkeypatch):
    """wandb.init leaves the address of its background process in the environment; who shares it finds the other's runs in use."""
    monkeypatch.setenv("WANDB_SERVICE", "5-1-tcp-localhost-1")
    journal = Scripted(config(), phase, 0, 20)
    train(journal, 1, 3)
    journal.close()
    compare(phase)


def test_close_is_bounded_whatever_wandb_does(phase):
    tracker = Tracker(config(), phase, patience_s=1.0)
    child = tracker._child
    assert child is not None
    os.kill(child.pid, signal.SIGSTOP)
    begun = time.monotonic()
    tracker.close()
    assert time.monotonic() - begun < 3
    with pytest.raises(ProcessLookupError):
        os.killpg(child.pid, 0)


def test_a_broken_folder_is_told_once_and_stops_nothing(phase, capfd):
    (phase / "wandb").write_text("in the way")
    journal = Scripted(config(), phase, 0, 20)
    train(journal, 1, 10)
    journal.close()
    assert capfd.readouterr().out.count("W&B is off for this phase") == 1
    assert len(expected(phase)) == 12


def test_switched_off_it_starts_nothing(phase):
    tracker = Tracker(config(enabled=False), phase)
    assert tracker._child is None
    tracker.close()
    assert list(phase.iterdir()) == []


def test_the_config_on_wandb_says_nothing_of_the_cluster(phase, config_with_secret):
    follower = Follower(config_with_secret, phase, "offline")
    write_lines(phase, 1)
    assert follower.poll()
    follower.close()
    files = [path for path in phase.rglob("*") if path.is_file()]
    assert len(files) > 3 and all(b"s3cret" not in path.read_bytes() for path in files)


@pytest.fixture
def config_with_secret(tmp_path):
    from launch.config import load_campaign
    from tests.launch.conftest import tiny_campaign

    cluster = {"executor": "local", "train": {"setup": ["export TOKEN=s3cret"], "account": "s3cret"}}
    return load_campaign(tiny_campaign(tmp_path, cluster=cluster))


def write_lines(phase: Path, first: int, last: int | None = None) -> None:
    with open(phase / "metrics.jsonl", "a") as file:
        for step in range(first, (last or first) + 1):
            file.write(json.dumps({"kind": "train", **figures(step), "time": round(time.time(), 3)}) + "\n")


def test_two_senders_take_turns(phase):
    write_lines(phase, 1, 3)
    said: list[str] = []
    one, two = Follower(config(), phase, "offline"), Follower(config(), phase, "offline", say=said.append)
    assert one.poll() and not two.poll() and not two.poll()
    assert len(said) == 1 and f"process {os.getpid()}" in said[0]
    one.close()
    assert not two.poll(), "all is sent"
    write_lines(phase, 4)
    assert two.poll()
    two.close()
    compare(phase)


def test_what_is_on_the_server_is_not_synced_again(phase):
    """By `wandb sync --dry-run`, which lists what it would send."""
    write_lines(phase, 1)
    follower = Follower(config(), phase, "offline")
    follower.poll()
    follower.close()
    command = [sys.executable, "-m", "wandb", "sync", "--dry-run", str(phase / "wandb")]

    def listed() -> bool:
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        return follower.id in done.stdout + done.stderr

    assert listed()
    mark_sent(phase)
    assert not listed()


def test_done_phases_are_sent_once_with_what_they_published(tmp_path):
    run = tmp_path / "run"
    phase = run / "phases" / "03-label-1"
    facts = {"round": 1, "threshold": 0.9, "accepted": {"background": 60, "tumour": 20, "others": 0}, "rejected": 20}
    facts["by_stain"] = {"ER": {"background": 30, "tumour": 18, "others": 0, "rejected": 2}}
    facts["expected"] = {"precision": {"low": {"tumour": 0.9, "others": None}}, "recall": {"low": {"tumour": 0.4}}}
    write_json(run / "data" / "labels-1" / "manifest.json", {"facts": facts})
    done = {"kind": "label", "outputs": {"path": "data/labels-1/manifest.json"}, "seconds": 3.0, "host": "n1"}
    write_json(phase / "done.json", {**done, "ended": time.time()})
    follower = Follower(config(), phase, "offline")
    assert follower.poll() and follower.is_complete and not follower.poll()
    follower.close()
    found = wandb_files.records(phase)
    (line,) = wandb_files.history(found)
    shares = {name.partition("/")[2]: value for name, value in line.items() if name.startswith("acceptance/")}
    by_class = {"background": 0.6, "tumour": 0.2, "others": 0.0, "all": 0.8}
    assert line["round"] == 1 and shares == {**by_class, "by_stain/ER": 0.96}
    expected = {name: value for name, value in line.items() if name.startswith("labels/expected/")}
    assert expected == {"labels/expected/precision/low/tumour": 0.9, "labels/expected/recall/low/tumour": 0.4}
    assert [a["title"] for a in wandb_files.alerts(found)] == ["tiny/03-label-1: phase done"]
    again = Follower(config(), phase, "offline")
    assert not again.poll(), "nothing is new"
    again.close()


def test_how_much_styles_keep_is_in_the_runs_table(tmp_path):
    run = tmp_path / "run"
    phase = run / "phases" / "03-style"
    facts = {"ssim": {"A -> B": {"mean": 0.98, "least": 0.9}}}
    write_json(run / "data" / "styled" / "manifest.json", {"facts": facts})
    done = {"kind": "style", "outputs": {"path": "data/styled/manifest.json"}, "seconds": 3.0, "host": "n1"}
    write_json(phase / "done.json", {**done, "ended": time.time()})
    follower = Follower(config(), phase, "offline")
    assert follower.poll()
    follower.close()
    assert wandb_files.summary(wandb_files.records(phase))["style/ssim/A -> B"] == 0.98


def test_a_failed_job_alerts_once_an_attempt(phase):
    write_lines(phase, 1)
    follower = Follower(config(), phase, "offline")
    follower.poll()
    write_json(phase / "state.json", {"status": "failed", "attempt": "7-0", "error": "KeyError: 'x'", "host": "n3"})
    assert follower.poll() and not follower.poll()
    write_json(phase / "state.json", {"status": "failed", "attempt": "8-0", "error": "KeyError: 'x'", "host": "n3"})
    assert follower.poll()
    follower.close()
    titles = [a["title"] for a in wandb_files.alerts(wandb_files.records(phase))]
    assert titles == ["tiny/02-base: job failed"] * 2


def test_many_starts_in_an_hour_are_a_storm(phase):
    events = [{"event": "started", "level": "info", "text": "", "time": time.time() - 60 * (6 - i)} for i in range(6)]
    (phase / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    follower = Follower(config(), phase, "offline")
    follower.poll()
    follower.close()
    (alert,) = wandb_files.alerts(wandb_files.records(phase))
    assert alert["title"] == "tiny/02-base: requeue storm" and "5 starts in 4 min" in alert["text"]


def test_a_claim_passes_from_the_dead_to_the_living(tmp_path):
    path = tmp_path / "claim.json"
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    write_json(path, {"token": "x", "host": socket.gethostname(), "pid": ended.pid, "beat": 1})
    mine = Claim(path)
    assert not mine.held() and mine.held(), "of this host and gone: taken over, and held from the next look on"
    mine.release()
    write_json(path, {"token": "x", "host": "elsewhere", "pid": 1, "beat": 1})
    mine = Claim(path, stale_s=0.3)
    assert not mine.held() and not mine.held()
    write_json(path, {"token": "x", "host": "elsewhere", "pid": 1, "beat": 2})
    time.sleep(0.35)
    assert not mine.held(), "it has moved since: alive"
    time.sleep(0.35)
    assert not mine.held() and mine.held()
    write_json(path, {"token": "y", "host": "elsewhere", "pid": 1, "beat": 1})
    assert not mine.held(), "another one took over: yield"
    mine.release()
    assert json.loads(path.read_text())["token"] == "y"


def test_rows_are_numbered_by_step_and_kind():
    lines = [{"kind": kind, "step": step} for step in (1, 2, 30) for kind in ("train", "val")]
    numbers = [number(line) for line in lines]
    assert numbers == sorted(set(numbers))
    sent = row({"kind": "train", **figures(3), "time": 5.25, "excluded_pairs": 2})
    assert sent["speed/pairs_s"] == 13.0 and sent["train/loss"] == 1 / 3 and sent["health/excluded_pairs"] == 2
    assert sent["step"] == 3 and sent["_timestamp"] == 5.25 and "train/iou/others" not in sent


def test_excluded_pairs_are_counted_where_they_happened(phase):
    write_lines(phase, 1)
    with open(phase / "metrics.jsonl", "a") as file:
        file.write('{"kind": "excluded", "step": 2, "key": "a"}\n{"kind": "excluded", "step": 2, "key": "b"}\n')
    write_lines(phase, 2)
    follower = Follower(config(), phase, "offline")
    follower.poll()
    follower.close()
    rows = wandb_files.history(wandb_files.records(phase))
    assert [r["health/excluded_pairs"] for r in rows] == [0, 2]


def wait_for(what, seconds: float = 20):
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found
