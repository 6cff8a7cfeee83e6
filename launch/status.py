"""Where a campaign stands: phases by their files, jobs by the queue, progress by the tallies."""

import shlex
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from launch import phase_time
from launch.completion import Completion, survey
from launch.config import CampaignConfig
from launch.endings import FAILURES
from launch.graph import Phase, build_graph
from launch.outside import Outside
from launch.phase_progress import last_alert, last_metrics, phase_tally
from launch.phases import kind_of
from launch.planner import for_person, missing_reason, verdict
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan, latest_jobs, read_plans
from launch.slurm.nodes import avoided
from launch.slurm.queue import QueuedJob, in_words
from mlseg_core.files import read_json
from mlseg_core.progress import clock


@dataclass(frozen=True)
class PhaseStatus:
    """state: done, running, queued, failed, interrupted, lost (no job and no word), stale, waiting, or unknown (it may run
    where it cannot be seen from here).

    doing: what it does while no unit makes progress.  metrics: of a training phase (phase_metrics).
    alert: its last warning or error.
    seconds, took: how long a done phase took with all its attempts, and the same in words (phase_time.py).
    """

    number: int
    name: str
    kind: str
    state: str
    why: str = ""
    log: str = ""
    jobs: list[dict[str, Any]] = field(default_factory=list)
    progress: dict[str, Any] | None = None
    metrics: dict[str, Any] | None = None
    alert: dict[str, Any] | None = None
    seconds: float | None = None
    took: str = ""
    doing: str = ""


@dataclass(frozen=True)
class CampaignStatus:
    """alert: why a person is asked.  fix: what to type once its cause is corrected.

    avoided: node -> why jobs with GPUs leave it out.  notes: whose its jobs are, where they write to, that SLURM does not answer.
    goes_on: something works at it or will: a job, a planner, or what cannot be seen from here.
    awaits_planner: nothing goes on, and a planner on a login node or a first plan may still come (attend.py).
    """

    run: str
    name: str
    done: bool
    executor: str
    alert: str
    phases: list[PhaseStatus]
    avoided: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fix: str = ""
    goes_on: bool = False
    awaits_planner: bool = False

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def campaign_status(run: RunFolder, config: CampaignConfig) -> CampaignStatus:
    """Read everything once; changes nothing, and needs no right to write in the run folder."""
    graph, plans = build_graph(config), read_plans(run)
    outside = Outside.of(run, config, plans)
    completions = survey(config, graph, run)
    done_names = {completion.phase.name for completion in completions if completion.state == "done"}
    phases = [_phase_status(run, completion, plans, outside, done_names) for completion in completions]
    done = all(phase.state == "done" for phase in phases)
    alert_path = run.path / "alert.json"
    alert = read_json(alert_path)["alert"] if alert_path.exists() and not done else ""
    if not alert and outside.slurm and not any(job.can_run for job in outside.jobs):
        alert = _stopped(run, phases, graph, plans)  # on a full disk nobody could leave one
    goes_on = not done and outside.goes_on
    return CampaignStatus(
        str(run.path),
        config.name,
        done,
        "slurm" if outside.slurm else "local",
        alert,
        phases,
        avoided(run),
        [*([] if done else outside.notes), *_unsent(run)],
        "" if done else _fix(run, phases, alert, goes_on),
        goes_on,
        not done and not goes_on and (_is_new(phases) if not plans else config.cluster.replan == "login"),
    )


def _is_new(phases: Sequence[PhaseStatus]) -> bool:
    """No phase has begun: whoever has made the run folder may still be submitting its jobs."""
    return all(phase.state == "waiting" for phase in phases)


def _unsent(run: RunFolder) -> list[str]:
    """Alerts that nobody got."""
    if not (run.path / "alerts").is_dir():
        return []
    from launch.alerts.delivery import unsent

    return [f"not sent: {title}: {why}" for title, why in unsent(run).items()]


def _fix(run: RunFolder, phases: Sequence[PhaseStatus], alert: str, goes_on: bool) -> str:
    """The command that continues after the cause is corrected; "" while it is not a person's turn."""
    where = shlex.quote(str(run.path))
    bad = [phase.name for phase in phases if phase.state in ("failed", "lost")]
    if bad and (alert or not goes_on):
        return f"mlseg retry {where} {shlex.quote(bad[0])}"
    return f"mlseg resume {where}" if alert or not goes_on else ""


def _stopped(run: RunFolder, phases: Sequence[PhaseStatus], graph: Sequence[Phase], plans: Sequence[JobPlan]) -> str:
    """The alert for a phase that failed for something that a person has to fix; "" when there is none."""
    for shown, phase in zip(phases, graph, strict=True):
        said = verdict(run, phase, plans)
        if shown.state == "failed" and said.get("status") == "user error":
            return for_person(phase.name, said)
    return ""


def _phase_status(
    run: RunFolder, completion: Completion, plans: list[JobPlan], outside: Outside, done_names: set[str]
) -> PhaseStatus:
    phase = completion.phase
    state = {} if completion.state == "done" else verdict(run, phase, plans if outside.slurm else [])
    mine = set(latest_jobs(plans, phase.name).values())
    jobs = [job for job in outside.jobs if job.main in mine]
    name, why = str(completion.state), completion.why
    if name == "missing":
        name, why = _unfinished(phase, state, jobs, outside, latest_jobs(plans, phase.name))
        if name == "waiting" and mine and missing_reason(phase, plans, "", done_names) == "lost":
            ended = [f"job {job.id} {job.state} {job.reason}" for job in jobs if job.state != "COMPLETED"]
            name, why = "lost", ended[0] if ended else "its job ended before it could say why"
        if name in ("lost", "waiting", "interrupted") and outside.unseen and (mine or state):
            name, why = "unknown", outside.unseen
            if outside.silent:
                why = _by_files(run, phase, state)
    tally = phase_tally(run, phase) if name == "running" or state.get("status") == "running" else None
    progress = {**asdict(tally), "eta_s": tally.eta_s} if tally and name in ("running", "unknown") else None
    log = state.get("log", "") if name in ("failed", "running") else ""
    took = phase_time.took(run.phase(phase), completion.done) if name == "done" else None
    return PhaseStatus(
        phase.number,
        phase.name,
        phase.kind,
        name,
        why,
        str(run.logs(phase)) if name == "lost" else log,
        [{**asdict(job), "command": str(job.run_path or "")} for job in jobs],
        progress,
        (last_metrics(run.phase(phase)) if phase.kind == "train" else {}) or None,
        last_alert(run.phase(phase)),
        took.seconds if took else None,
        str(took) if took else "",
        _doing(run, phase, state) if name in ("running", "unknown") else "",
    )


def _doing(run: RunFolder, phase: Phase, state: dict[str, Any]) -> str:
    """What a map does between its last unit and its manifest; "" before and after."""
    merging = state.get("merging")
    if not merging or state.get("status") != "running":
        return ""
    target = kind_of(phase).manifest(run, phase).relative_to(run.path)
    since = clock(time.time() - merging["since"])
    return f"merging for {since}: checks that all {merging['units']:,} {merging['unit']} are done, then writes {target}"


def _by_files(run: RunFolder, phase: Phase, state: dict[str, Any]) -> str:
    """What the phase's own files say of it, and how old that is; "" before it has begun."""
    if not state:
        return ""
    tally = phase_tally(run, phase)
    last = max(float(state.get("updated", 0.0)), tally.updated if tally else 0.0)
    return f"{state.get('status', '')} by its files, last written {clock(time.time() - last)} ago"


def _unfinished(
    phase: Phase, state: dict[str, Any], jobs: list[QueuedJob], outside: Outside, parts: dict[str, str]
) -> tuple[str, str]:
    """state, why. parts: the phase's newest jobs, part -> id."""
    if any(job.state == "RUNNING" for job in jobs):
        return "running", ""
    waiting = [job for job in jobs if job.can_run]
    if waiting:
        first = next((job for job in waiting if job.start), waiting[0])
        expected = f", expected {first.start}" if first.start and first.reason != "Dependency" else ""
        said = in_words(first.reason)
        if "merge" in parts and all(job.main == parts["merge"] for job in waiting) and len(jobs) > len(waiting):
            said = "its workers have ended; the merge is next" + ("" if first.reason == "Dependency" else f": {said}")
        return "queued", said + expected
    status = state.get("status", "")
    if status in FAILURES:
        return "failed", state.get("error", "").split("\n")[0]
    if status == "interrupted":
        return "interrupted", "to be continued"
    if status in ("running", "done"):
        if outside.planner and not outside.slurm:
            return "running", "" if outside.planner.is_ours else outside.planner.words
        return "lost", "its processes are gone; start again to continue"
    return "waiting", ""
