"""status: what a person is told of each phase, at 80 columns; why jobs wait, in words."""

import io
import json
import os
import socket
import time
from pathlib import Path

import pytest
from rich.console import Console

from launch.campaign import prepare
from launch.cli import main
from launch.commands.status import page
from launch.config import CampaignConfig, load_campaign
from launch.graph import Phase, build_graph
from launch.local.liveness import local_planner
from launch.phase_progress import last_alert, last_metrics
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan, publish_plan
from launch.slurm.queue import in_words
from launch.status import CampaignStatus, PhaseStatus
from mlseg_dist.events import Events
from tests.cluster.second_user import as_nobody, need_root


def phase_of(config: CampaignConfig, name: str) -> Phase:
    return next(phase for phase in build_graph(config) if phase.name == name)


def write_metrics(folder: Path, steps: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for step in range(1, steps + 1):
        lines.append({"kind": "train", "step": step, "loss": 1 / step, "miou": step / steps, "lr": 0.1, "pairs_s": 9.5})
        if step == steps // 2:
            lines.append({"kind": "val", "step": step, "miou": 0.5})
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "metrics.jsonl").write_text(text + '{"kind": "train", "step": ')  # torn: it is being written


def test_the_tail_of_the_metrics(tmp_path: Path) -> None:
    assert last_metrics(tmp_path) == {}
    write_metrics(tmp_path, 4)
    expected = {"step": 4, "loss": 0.25, "miou": 1.0, "lr": 0.1, "pairs_s": 9.5, "val_miou": 0.5, "val_step": 2}
    assert last_metrics(tmp_path) == expected
    write_metrics(tmp_path, 20_000)
    assert (tmp_path / "metrics.jsonl").stat().st_size > 1 << 20
    begun = time.perf_counter()
    found = last_metrics(tmp_path)
    assert time.perf_counter() - begun < 0.2
    assert found["step"] == 20_000


def test_the_last_alert_is_of_this_attempt_or_none(tmp_path: Path) -> None:
    assert last_alert(tmp_path) is None
    events = Events(tmp_path)
    events.log("straggler", "rank 1 is slow")
    events.log("started", "2 ranks", "info")
    found = last_alert(tmp_path)
    assert found is not None and found["text"] == "rank 1 is slow"
    events.log("finished", "done", "info")
    assert last_alert(tmp_path) is None


@pytest.mark.parametrize(
    ("reason", "words"),
    [
        ("Priority", "jobs of higher priority come first"),
        ("(Resources)", "waits for free nodes"),
        ("QOSMaxGRESPerUser", "a limit of the QOS (QOSMaxGRESPerUser)"),
        ("AssocGrpGRES", "a limit of the account (AssocGrpGRES)"),
        ("ReqNodeNotAvail, UnavailableNodes:n3", "a node that it asks for is down or reserved"),
        ("SomethingNew", "SomethingNew"),
    ],
)
def test_why_a_job_waits(reason: str, words: str) -> None:
    assert in_words(reason) == words


def test_status_holds_metrics_alert_and_error_of_a_failed_phase(config: CampaignConfig, capsys) -> None:
    prepare(config)
    run, base = RunFolder.of(config), phase_of(config, "base")
    write_metrics(run.phase(base), 4)
    run.write_state(base, status="failed", error="it broke\ntrace", log="/somewhere/log")
    run.events(base).log("non-finite", "loss is nan at step 4")
    capsys.readouterr()
    assert main(["status", str(run.path), "--json"]) == 0
    shown = {phase["name"]: phase for phase in json.loads(capsys.readouterr().out)["phases"]}["base"]
    assert (shown["state"], shown["why"]) == ("failed", "it broke")
    assert shown["metrics"]["step"] == 4 and shown["alert"]["text"] == "loss is nan at step 4"
    assert main(["status", str(run.path)]) == 0
    told = capsys.readouterr().out
    for words in (
        "it broke",
        "step 4  loss 0.250  mIoU 1.000  val 0.500 at 2",
        ": loss is nan at step 4",
        "warning at ",
        "/somewhere/log",
    ):
        assert words in told


def test_a_page_fits_80_columns_and_is_not_markup() -> None:
    job = {"main": "7", "id": "7", "state": "RUNNING", "reason": "", "nodes": "gpu-node-[101-164]", "start": ""}
    progress = {
        "unit": "steps",
        "done": 120,
        "total": 20000,
        "rate": 1.2,
        "note": "loss 0.51",
        "updated": 0.0,
        "eta_s": 16566.0,
    }
    metrics = {"step": 120, "loss": 0.51, "miou": 0.6, "val_miou": 0.5, "val_step": 100}
    alert = {"level": "warning", "text": "rank [bold]17[/bold] on gpu-node-117 takes 1.7 times the median of all ranks"}
    now = CampaignStatus(
        "/a/long/path/" * 8 + "it's [red]x[/red]",
        "it's [red]x[/red]",
        False,
        "slurm",
        "phase base failed 4 times",
        [
            PhaseStatus(0, "slides", "slides", "done", seconds=83.0),
            PhaseStatus(1, "base", "train", "running", "", "", [job], progress, metrics, alert),
            PhaseStatus(2, "label-1", "label", "queued", in_words("Priority"), "", [{**job, "state": "PENDING"}] * 64),
            PhaseStatus(3, "master-1", "train", "lost", "job 9 FAILED NonZeroExitCode", "/logs"),
        ],
    )
    out = io.StringIO()
    Console(file=out, width=80, highlight=False).print(page(now))
    shown = out.getvalue()
    assert max(map(len, shown.splitlines())) <= 80
    for words in (
        "in 1:23",
        "120/20,000 steps",
        "ETA 4:36:06",
        "gpu-node-[101-164]",
        "64 jobs pending",
        "[red]x[/red]",
    ):
        assert words in shown, shown
    assert "ALERT: phase base failed 4 times" in shown and "[bold]17[/bold]" in shown


def test_somebody_elses_local_campaign_is_seen_as_it_is(config: CampaignConfig, tmp_path: Path) -> None:
    """Nobody may write there, cannot see the planner's lock, and is told that it runs; once it is gone, that it is lost."""
    need_root()
    prepare(config)
    run, base = RunFolder.of(config), phase_of(config, "base")
    environment = {"PATH": os.environ["PATH"]}
    with local_planner(run.path):
        run.write_state(base, status="running", host=socket.gethostname(), pid=os.getpid(), job="7")
        before = sorted(str(path) for path in run.path.rglob("*"))
        seen = as_nobody(environment, tmp_path / "home", "status", run.path, "--json")
        assert seen.returncode == 0, seen.stderr
        shown = json.loads(seen.stdout)["phases"][base.number]
        assert (shown["state"], shown["why"]) == ("running", f"runs on this machine as root (process {os.getpid()})")
        for words in (("run", run.path), ("cancel", run.path), ("clean", run.path, "--aside")):
            answer = as_nobody(environment, tmp_path / "home", *words)
            assert answer.returncode == 2 and "root" in answer.stderr and answer.stderr.count("\n") == 1, answer.stderr
        assert sorted(str(path) for path in run.path.rglob("*")) == before
    seen = as_nobody(environment, tmp_path / "home", "status", run.path, "--json")
    assert json.loads(seen.stdout)["phases"][base.number]["state"] == "lost"


def test_jobs_on_a_slurm_that_this_machine_cannot_ask_are_not_called_lost(
    config_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    config = load_campaign(config_path, ["cluster.executor=auto"])
    prepare(config)
    run, base = RunFolder.of(config), phase_of(config, "base")
    run.plans.mkdir()
    publish_plan(run, JobPlan(1, "person", {"base": {"work": "14"}}))
    run.write_state(base, status="running", job="14", host="n3", pid=1)
    assert main(["status", str(run.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)["phases"][base.number]
    assert (shown["state"], shown["why"]) == ("unknown", "its jobs are on SLURM, which this machine cannot ask")
    for words in (
        ["run", str(config_path), "cluster.executor=auto"],
        ["retry", str(run.path), "base"],
        ["cancel", str(run.path)],
    ):
        assert main(words) == 2
        assert "SLURM, which this machine does not have" in capsys.readouterr().err
