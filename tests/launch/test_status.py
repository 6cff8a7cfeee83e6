"""status: what a person is told of each phase, at 80 columns; why jobs wait, in words; when a watch ends."""

import dataclasses
import io
import json
import os
import socket
import time
from pathlib import Path

import pytest
from rich.console import Console

from launch import commands, phase_time
from launch.campaign import prepare
from launch.cli import main
from launch.config import CampaignConfig, load_campaign
from launch.graph import Phase, build_graph
from launch.local.console import Console as LocalConsole
from launch.local.liveness import local_planner
from launch.phase_progress import last_alert, last_metrics
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan, publish_plan
from launch.slurm.queue import in_words
from launch.slurm.silence import silence_in_words
from launch.status import CampaignStatus, PhaseStatus, campaign_status
from launch.status_page import page, told_of
from mlseg_core.config import dump_config
from mlseg_core.progress import Tally
from mlseg_dist.events import Events
from tests.cluster import slurm_host
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
    whole = json.loads(capsys.readouterr().out)
    assert not whole["goes_on"] and not whole["awaits_planner"] and whole["fix"] == f"mlseg retry {run.path} base"
    shown = {phase["name"]: phase for phase in whole["phases"]}["base"]
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


def shown_in(now: CampaignStatus, height: int | None = None, footer: str = "") -> str:
    """What a terminal of 80 columns shows."""
    out = io.StringIO()
    console = Console(file=out, width=80, highlight=False)
    console.print(page(now, console, height, footer))
    return out.getvalue().replace("\u00a0", " ")


def night(alert: str = "", **changes: object) -> CampaignStatus:
    """A campaign of 22 phases in the middle of the night: an arm failed, one trains, one is next, SLURM is slow."""
    job = {"main": "7", "id": "7", "state": "RUNNING", "reason": "", "nodes": "gpu-node-[101-164]", "start": ""}
    steps = Tally("steps", 120, 20000, 1.2, "loss 0.51", 0.0)
    progress = {**vars(steps), "eta_s": steps.eta_s}
    metrics = {"step": 120, "loss": 0.51, "miou": 0.6, "val_miou": 0.5, "val_step": 100}
    warned = {
        "level": "warning",
        "text": "rank 17 on gpu-node-117 takes 1.7 times the median of all ranks",
        "time": 1.0,
    }
    failed = {"level": "error", "text": "RuntimeError: the GPU fell off the bus", "time": 1.0}
    error = "RuntimeError: the GPU fell off the bus"
    phases = [
        PhaseStatus(n, f"human-only-master-{n}", "train", "done", took="in 9:12:03, 3 attempts", metrics=metrics)
        for n in range(10)
    ]
    log = "/runs/night/phases/10-human-only-master-10/logs/123_0_log.out"
    phases.append(PhaseStatus(10, "human-only-master-10", "train", "failed", error, log, alert=failed))
    phases.append(PhaseStatus(11, "base", "train", "running", "", "", [job], progress, metrics, warned))
    queued = [{**job, "state": "PENDING", "nodes": ""}] * 64
    phases.append(PhaseStatus(12, "label-1", "label", "queued", in_words("Priority"), "", queued))
    behind = in_words("Dependency")
    phases += [PhaseStatus(n, f"master-{n}", "train", "queued", behind, "", [job]) for n in range(13, 22)]
    values = {"fix": "mlseg retry /runs/night human-only-master-10", "goes_on": True, **changes}
    return CampaignStatus("/runs/night", "night", False, "slurm", alert, phases, **values)  # type: ignore[arg-type]


ALERT = "phase human-only-master-10 failed 4 times; at last: RuntimeError: the GPU fell off the bus"


@pytest.mark.parametrize("height", [40, 24, 16, 12, 8, 5])
def test_whatever_the_terminals_height_what_matters_is_seen_first_and_all_fits(height: int) -> None:
    shown = shown_in(night(ALERT), height, "12:00:00, every 5 s; Ctrl-C ends this view only")
    lines = shown.splitlines()
    assert len(lines) <= height and max(map(len, lines)) <= 80, shown
    assert "10 of 22 phases done" in lines[0] and "every 5 s" in lines[-1]
    assert "ALERT: phase human-only-master-10 failed 4 times" in lines[2], shown
    if height >= 8:
        assert "then: mlseg retry /runs/night human-only-master-10" in shown, shown
    if height >= 12:
        assert shown.index("10 human-only-master-10") < shown.index("11 base"), shown
        assert "120/20,000 steps" in shown, shown
        assert shown.index("11 base") < shown.index("00 human-only-master-0"), "what is done comes last"
    if height >= 24:
        for words in (
            "ETA 4:36:06",
            "val 0.500 at 100",
            "gpu-node-[101-164]",
            "13 master-13",
            "09 human-only-master-9",
        ):
            assert words in " ".join(shown.split()), shown


def test_what_went_wrong_is_said_once_with_what_to_do() -> None:
    for height in (None, 24):
        shown = " ".join(shown_in(night(ALERT), height).split())
        assert shown.count("the GPU fell off the bus") == 1 and shown.count("→ correct the cause, then:") == 1, shown
        assert "log:phases/10-human-only-master-10/logs/123_0_log.out" in shown.replace(" ", ""), shown
    here = night("", fix="mlseg retry /runs/night human-only-master-10", goes_on=False)
    assert " ".join(shown_in(here).split()).count("the GPU fell off the bus") == 1, "without an alert, in its row"
    assert "nothing runs" in shown_in(here)


def test_a_failed_phase_ends_with_the_end_of_its_log_and_the_error_once(
    config: CampaignConfig, tmp_path: Path, capsys
) -> None:
    log = tmp_path / "log"
    error = "RuntimeError: there is no teacher: " + "why " * 200
    log.write_text(f"step 1\nTraceback\n  File x, line 1\n{error}\n\nERROR failed: {error}\n")
    LocalConsole().fail(phase_of(config, "base"), error[:500], log)
    said = capsys.readouterr().err
    assert said.count("there is no teacher") == 1 and said.startswith("  | step 1\n  | Traceback\n  |   File x"), said


def test_a_merging_map_and_one_that_is_about_to_merge_say_so(config: CampaignConfig) -> None:
    prepare(config)
    run, shards = RunFolder.of(config), phase_of(config, "shards")
    merging = {"units": 1203, "unit": "slides", "since": time.time() - 42}
    run.write_state(shards, status="running", merging=merging, job="7")
    with local_planner(run.path):
        shown = campaign_status(run, config).phases[shards.number]
    assert shown.doing.startswith("merging for 0:42: checks that all 1,203 slides are done, then writes data/shards/")
    assert told_of(shown, campaign_status(run, config))[0] == shown.doing
    run.write_state(shards, status="failed", error="it broke", merging=merging, job="7")
    assert campaign_status(run, config).phases[shards.number].doing == ""


def test_a_phase_took_all_its_attempts_and_its_array(config: CampaignConfig) -> None:
    """Two workers of a map, one of them requeued; the merge, which writes done.json, began an hour later."""
    prepare(config)
    run, slides, base = RunFolder.of(config), phase_of(config, "slides"), phase_of(config, "base")
    now = time.time()
    run.write_task(slides, 0, part="work", begun=now - 7200, starts=1)
    run.write_task(slides, 1, part="work", begun=now - 7190, starts=3)
    run.write_task(slides, 0, part="merge", begun=now - 60, starts=1)
    known = phase_time.begun(run, slides, now - 60)
    done = {"seconds": 60.0, "ended": now, "kind": "slides", **known}
    assert phase_time.took(run.phase(slides), done) == phase_time.Took(7200.0, 3)
    assert str(phase_time.took(run.phase(slides), done)) == "in 2:00:00, 3 attempts"
    earlier = {"seconds": 60.0, "ended": now, "kind": "slides"}
    assert str(phase_time.took(run.phase(slides), earlier)) == "its last job took 1:00", "earlier code kept no more"
    run.phase(base).mkdir(parents=True, exist_ok=True)
    for _ in range(2):
        run.events(base).log("started", "2 ranks", "info", ranks=2)
    found = phase_time.took(run.phase(base), {"seconds": 1.0, "ended": time.time() + 100, "kind": "train"})
    assert found is not None and found.attempts == 2 and 99 < found.seconds < 110


@pytest.mark.parametrize(
    ("said", "means"),
    [
        ("slurm_load_jobs error: Unable to contact slurm controller (connect failure)", "(slurmctld) is down"),
        ("Slurmctld(primary) at host is DOWN", "(slurmctld) is down"),
        ("slurm_load_jobs error: Socket timed out on send/recv operation", "busy"),
        ("slurm_load_jobs error: Zero Bytes were transmitted or received", "restarts"),
        (
            "slurm_load_jobs error: something new",
            "SLURM does not answer: squeue failed: slurm_load_jobs error: something",
        ),
    ],
)
def test_slurms_line_is_explained(said: str, means: str) -> None:
    words = silence_in_words(RuntimeError(f"squeue failed: {said}"))
    assert means in words and said in words and words.count("SLURM does not answer") == 1


def test_without_slurmctld_the_run_folders_files_are_shown(
    config_path: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    """SLURM's real commands, and a controller that is not there."""
    if missing := slurm_host.missing_programs():
        pytest.skip(f"no SLURM on this machine: {missing}")
    host = slurm_host.SlurmHost(tmp_path / "slurm")
    host.write_conf()
    monkeypatch.setenv("SLURM_CONF", str(host.conf))
    config = load_campaign(config_path, ["cluster.executor=slurm"])
    dump_config(config, RunFolder.of(config).config_path)
    run, base = RunFolder.of(config), phase_of(config, "base")
    run.plans.mkdir()
    publish_plan(
        run, JobPlan(1, "person", {"base": {"work": "14"}, "label-1": {"work": "15", "merge": "16"}}, replan="17")
    )
    run.write_state(base, status="running", job="14")
    write_metrics(run.phase(base), 4)
    capsys.readouterr()
    assert main(["status", str(run.path), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    phases = {phase["name"]: phase for phase in shown["phases"]}
    assert phases["base"]["state"] == "unknown" and phases["base"]["metrics"]["step"] == 4
    assert phases["base"]["why"].startswith("running by its files, last written 0:0"), phases["base"]
    label = phases["label-1"]
    assert (label["state"], label["why"], shown["goes_on"], shown["fix"]) == ("unknown", "", True, "")
    assert main(["status", str(run.path)]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.count("SLURM does not answer: its controller (slurmctld) is down, or cannot be reached") == 1, told
    assert "It said: " in told and "shown is what the run folder's files say" in told and "step 4 loss" in told, told


def test_a_watch_ends_with_the_campaign_and_its_status(config: CampaignConfig, monkeypatch) -> None:
    prepare(config)
    run, end = RunFolder.of(config), commands.status._End()
    clock = [0.0]
    monkeypatch.setattr(commands.status.time, "monotonic", lambda: clock[0])

    def seen(seconds: float, **changes: object) -> int | None:
        clock[0] += seconds
        return end.of(night(**changes), run)

    assert seen(0, goes_on=False) is None, "a job that has just ended may have submitted others"
    assert seen(5, goes_on=True) is None and seen(1e6, goes_on=True) is None
    assert seen(1, goes_on=False) is None and seen(9, goes_on=False) == 1
    assert seen(1, goes_on=True) is None and seen(1, goes_on=False, awaits_planner=True) is None
    assert seen(61, goes_on=False, awaits_planner=True) is None, "the planner on the login node looks every minute"
    assert seen(120, goes_on=False, awaits_planner=True) == 1
    done = dataclasses.replace(night(), done=True)
    assert end.of(done, run) == 0
    run.report.mkdir()
    (run.report / "checks.json").write_text('{"passed": false}')
    assert end.of(done, run) == 1


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
            PhaseStatus(0, "slides", "slides", "done", seconds=83.0, took="in 1:23"),
            PhaseStatus(1, "base", "train", "running", "", "", [job], progress, metrics, alert),
            PhaseStatus(2, "label-1", "label", "queued", in_words("Priority"), "", [{**job, "state": "PENDING"}] * 64),
            PhaseStatus(3, "master-1", "train", "lost", "job 9 FAILED NonZeroExitCode", "/logs"),
        ],
    )
    shown = shown_in(now)
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
