"""Where a campaign stands: phases by their files, jobs by the queue, progress by the tallies."""

import os
import socket
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from launch.completion import Completion, survey
from launch.config import CampaignConfig
from launch.endings import FAILURES
from launch.graph import Phase, build_graph
from launch.guard import hidden_planner, ids_of
from launch.local.liveness import running_planner
from launch.local.record import LocalPlanner
from launch.phase_progress import last_alert, last_metrics, phase_tally
from launch.planner import for_person, missing_reason, verdict
from launch.run_folder import RunFolder
from launch.run_folder.identity import owner_of, run_id
from launch.slurm.job_plans import JobPlan, latest_jobs, read_plans
from launch.slurm.nodes import avoided
from launch.slurm.queue import QueuedJob, has_slurm, in_words
from launch.slurm.run_jobs import RunJobs, read_run_jobs
from mlseg_core.files import read_json
from mlseg_core.node import process_exists, user_name


@dataclass(frozen=True)
class PhaseStatus:
    """state: done, running, queued, failed, interrupted, lost (no job and no word), stale, waiting, or unknown (it may run
    where it cannot be seen from here).

    metrics: of a training phase (phase_metrics).  alert: its last warning or error.  seconds: what a done phase took.
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


@dataclass(frozen=True)
class CampaignStatus:
    """avoided: node -> why jobs with GPUs leave it out.  notes: whose its jobs are, where they write to."""

    run: str
    name: str
    done: bool
    executor: str
    alert: str
    phases: list[PhaseStatus]
    avoided: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def campaign_status(run: RunFolder, config: CampaignConfig) -> CampaignStatus:
    """Read everything once; changes nothing, and needs no right to write in the run folder."""
    graph, plans = build_graph(config), read_plans(run)
    outside = _Outside.of(run, config, plans)
    standings = survey(config, graph, run)
    done_names = {standing.phase.name for standing in standings if standing.state == "done"}
    phases = [_phase_status(run, standing, plans, outside, done_names) for standing in standings]
    done = all(phase.state == "done" for phase in phases)
    alert_path = run.path / "alert.json"
    alert = read_json(alert_path)["alert"] if alert_path.exists() and not done else ""
    if not alert and outside.slurm and not any(job.can_run for job in outside.jobs):
        alert = _stopped(run, phases, graph, plans)  # on a full disk nobody could leave one
    executor = "slurm" if outside.slurm else "local"
    return CampaignStatus(
        str(run.path), config.name, done, executor, alert, phases, avoided(run), [] if done else outside.notes
    )


def _stopped(run: RunFolder, phases: Sequence[PhaseStatus], graph: Sequence[Phase], plans: Sequence[JobPlan]) -> str:
    """The alert for a phase that failed for something that a person has to fix; "" when there is none."""
    for shown, phase in zip(phases, graph, strict=True):
        said = verdict(run, phase, plans)
        if shown.state == "failed" and said.get("status") == "user error":
            return for_person(phase.name, said)
    return ""


@dataclass(frozen=True)
class _Outside:
    """What is seen outside the run folder. unseen: why jobs or processes that may live cannot be seen; "" when all can."""

    slurm: bool
    jobs: list[QueuedJob]
    planner: LocalPlanner | None
    unseen: str = ""
    notes: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, run: RunFolder, config: CampaignConfig, plans: Sequence[JobPlan]) -> "_Outside":
        planner = running_planner(run.path)
        if not plans or config.cluster.executor == "local":
            return cls(False, [], planner, "" if planner or plans else _unseen_processes(run, config))
        if not has_slurm():
            cancelled = plans[-1].by == "cancel"
            unseen = "" if cancelled or planner else "its jobs are on SLURM, which this machine cannot ask"
            return cls(False, [], planner, unseen)
        found = read_run_jobs(run, plans, config.name, settle=False, everyone=False)
        hidden = hidden_planner(run, plans)
        unseen = f"{hidden} submitted its jobs, and this SLURM shows nobody the jobs of others" if hidden else ""
        return cls(True, found.own, planner, unseen, _notes(run, found))


def _notes(run: RunFolder, found: RunJobs) -> list[str]:
    """What a person should know of the jobs beside their phases."""
    live = [job for job in found.own if job.can_run]
    others = sorted({job.user for job in live if job.uid != os.getuid()})
    notes = [f"its jobs belong to {', '.join(others)}, who alone can go on with it or end it"] if others else []
    if moved := [job for job in found.elsewhere if job.can_run]:
        notes.append(f"this folder was moved: {ids_of(moved)} still go to {moved[0].run_path}; move it back, or cancel")
    if strange := [job for job in found.strangers if job.can_run]:
        notes.append(f"{ids_of(strange)} of a run that was deleted or moved still go to this folder; scancel them")
    return notes


def _unseen_processes(run: RunFolder, config: CampaignConfig) -> str:
    """Where the processes of a run were that an earlier version started locally, without a record; "" when none can live."""
    if run_id(run):
        return ""
    for phase in build_graph(config):
        state = run.state(phase)
        if state.get("status") == "running" and not (run.phase(phase) / "done.json").exists():
            owner = owner_of(run.phase(phase) / "state.json")
            who = user_name(owner) if owner is not None else "somebody"
            here = state.get("host") == socket.gethostname()
            if not here or (owner != os.getuid() and process_exists(int(state.get("pid", 0)))):
                return f"a process of {who} was at it on {state.get('host')}, and whether it lives cannot be seen here"
    return ""


def _phase_status(
    run: RunFolder, standing: Completion, plans: list[JobPlan], outside: _Outside, done_names: set[str]
) -> PhaseStatus:
    phase = standing.phase
    state = {} if standing.state == "done" else verdict(run, phase, plans if outside.slurm else [])
    mine = set(latest_jobs(plans, phase.name).values())
    jobs = [job for job in outside.jobs if job.main in mine]
    name, why = str(standing.state), standing.why
    if name == "missing":
        name, why = _unfinished(state, jobs, outside)
        if name == "waiting" and mine and missing_reason(phase, plans, "", done_names) == "lost":
            ended = [f"job {job.id} {job.state} {job.reason}" for job in jobs if job.state != "COMPLETED"]
            name, why = "lost", ended[0] if ended else "its job ended before it could say why"
        if name in ("lost", "waiting", "interrupted") and outside.unseen and (mine or state):
            name, why = "unknown", outside.unseen
    tally = phase_tally(run, phase) if name == "running" or state.get("status") == "running" else None
    progress = {**asdict(tally), "eta_s": tally.eta_s} if tally and name in ("running", "unknown") else None
    log = state.get("log", "") if name in ("failed", "running") else ""
    log = str(run.logs(phase)) if name == "lost" else log
    metrics = last_metrics(run.phase(phase)) if phase.kind == "train" else {}
    return PhaseStatus(
        phase.number,
        phase.name,
        phase.kind,
        name,
        why,
        log,
        [{**asdict(job), "command": str(job.run_path or "")} for job in jobs],
        progress,
        metrics or None,
        last_alert(run.phase(phase)),
        standing.done.get("seconds") if name == "done" else None,
    )


def _unfinished(state: dict[str, Any], jobs: list[QueuedJob], outside: _Outside) -> tuple[str, str]:
    if any(job.state == "RUNNING" for job in jobs):
        return "running", ""
    waiting = [job for job in jobs if job.can_run]
    if waiting:
        first = next((job for job in waiting if job.start), waiting[0])
        expected = f", expected {first.start}" if first.start and first.reason != "Dependency" else ""
        return "queued", in_words(first.reason) + expected
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
