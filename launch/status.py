"""Where a campaign stands: phases by their files, jobs by the queue, progress by the tallies."""

from dataclasses import asdict, dataclass, field
from typing import Any

from launch.campaign import uses_slurm
from launch.completion import survey
from launch.config import CampaignConfig
from launch.graph import build_graph
from launch.liveness import planner_pid
from launch.nodes import avoided
from launch.pending import in_words
from launch.phase_metrics import last_alert, last_metrics
from launch.phase_progress import phase_tally
from launch.planner import last_words, missing_reason
from launch.plans import latest_jobs, queued_jobs, read_plans
from launch.run_folder import RunFolder
from launch.slurm_queue import QueuedJob
from launch.statuses import FAILURES
from mlseg_core.files import read_json


@dataclass(frozen=True)
class PhaseStatus:
    """state: done, running, queued, failed, interrupted, lost (no job and no word), stale or waiting.

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
    """avoided: node -> why jobs with GPUs leave it out."""

    run: str
    name: str
    done: bool
    executor: str
    alert: str
    phases: list[PhaseStatus]
    avoided: dict[str, str] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def campaign_status(run: RunFolder, config: CampaignConfig) -> CampaignStatus:
    """Read everything once; changes nothing."""
    graph = build_graph(config)
    plans = read_plans(run)
    slurm = bool(plans) and uses_slurm(config)
    queue = queued_jobs(plans, config.name, settle=False) if slurm else []
    alive = planner_pid(run.path) is not None
    phases = []
    standings = survey(config, graph, run)
    done_names = {standing.phase.name for standing in standings if standing.state == "done"}
    for standing in standings:
        phase, state = standing.phase, run.state(standing.phase)
        if slurm and not last_words(state, plans, phase.name):
            state = {}
        mine = set(latest_jobs(plans, phase.name).values())
        jobs = [job for job in queue if job.main in mine]
        name, why = str(standing.state), standing.why
        if name == "missing":
            name, why = _unfinished(state, jobs, alive, slurm)
            if name == "waiting" and missing_reason(phase, plans, "", done_names) == "lost":
                ended = [f"job {job.id} {job.state} {job.reason}" for job in jobs if job.state != "COMPLETED"]
                name, why = "lost", ended[0] if ended else "its job ended before it could say why"
        tally = phase_tally(run, phase) if name == "running" else None
        progress = {**asdict(tally), "eta_s": tally.eta_s} if tally else None
        log = state.get("log", "") if name in ("failed", "running") else ""
        log = str(run.logs(phase)) if name == "lost" else log
        shown = [asdict(job) for job in jobs]
        metrics = last_metrics(run.phase(phase)) if phase.kind == "train" else {}
        seconds = standing.done.get("seconds") if name == "done" else None
        told = (metrics or None, last_alert(run.phase(phase)), seconds)
        phases.append(PhaseStatus(phase.number, phase.name, phase.kind, name, why, log, shown, progress, *told))
    done = all(phase.state == "done" for phase in phases)
    alert_path = run.path / "alert.json"
    alert = read_json(alert_path)["alert"] if alert_path.exists() and not done else ""
    return CampaignStatus(str(run.path), config.name, done, "slurm" if slurm else "local", alert, phases, avoided(run))


def _unfinished(state: dict[str, Any], jobs: list[QueuedJob], alive: bool, slurm: bool) -> tuple[str, str]:
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
        return ("running", "") if alive and not slurm else ("lost", "its processes are gone; start again to continue")
    return "waiting", ""
