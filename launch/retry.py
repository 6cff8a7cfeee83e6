"""A failed phase again, by a person's wish: its retry budget starts anew, and what depends on it is planned with it."""

from launch.completion import survey
from launch.config import CampaignConfig
from launch.graph import build_graph
from launch.guard import check_free
from launch.local.liveness import planner_pid
from launch.run_folder import RunFolder
from launch.slurm.plan import Outcome, plan_on_slurm
from launch.status import campaign_status
from mlseg_core.errors import UserError


def check(config: CampaignConfig, run: RunFolder, name: str) -> bool:
    """False when the phase is done already. Raises UserError when it cannot be retried: unknown, running, not its turn."""
    graph = build_graph(config)
    if name not in {phase.name for phase in graph}:
        raise UserError(f"no phase {name!r}", run.path, f"There are: {', '.join(phase.name for phase in graph)}.")
    phases = {phase.name: phase for phase in campaign_status(run, config).phases}
    state = phases[name].state
    if state == "done":
        return False
    check_free(run, config)
    if planner_pid(run.path) is not None:
        raise UserError("the campaign is running on this machine", run.path, f"First: mlseg cancel {run.path}")
    if state == "unknown":
        raise UserError(
            f"phase {name} may be running: {phases[name].why}", run.path, "Retry it where that can be seen."
        )
    if state in ("running", "queued"):
        jobs = ", ".join(job["id"] for job in phases[name].jobs) or "its processes"
        raise UserError(f"phase {name} is {state} ({jobs})", run.path, "Wait for it, or mlseg cancel the campaign.")
    if state == "stale":
        raise UserError(
            f"phase {name} is no longer valid: {phases[name].why}", run.path, "mlseg run … --accept does it again."
        )
    before = next(phase.inputs for phase in graph if phase.name == name)
    left = [other for other in before if phases[other].state not in ("done", "running", "queued")]
    if left:
        raise UserError(
            f"phase {name} waits for phase {left[0]}, which is {phases[left[0]].state}",
            run.path,
            f"First: mlseg retry {run.path} {left[0]}",
        )
    if state == "waiting":
        raise UserError(f"phase {name} has not failed: it has not begun", run.path, f"Start it: mlseg run {run.path}")
    return True


def retry_on_slurm(config: CampaignConfig, run: RunFolder, name: str) -> Outcome:
    """Submit the phase and what depends on it. Raises UserError when SLURM refuses."""
    return plan_on_slurm(run, survey(config, build_graph(config), run), by="person")
