"""The planner: compare the run folder with the queue, submit what is missing with its dependencies, and leave.

Safe to run at any time, by a person or by a job that finds a phase failed; started twice at once, one plan counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launch.completion import Standing
from launch.graph import Phase
from launch.kinds import MapKind, kind_of
from launch.plans import Plan, Reason, latest_jobs, publish_plan, queued_jobs, read_plans, retries_in_a_row
from launch.run_folder import RunFolder
from launch.slurm_queue import QueuedJob, cancel
from launch.slurm_submit import Submitter
from launch.statuses import FAILURES


@dataclass(frozen=True)
class Missing:
    """A phase to submit, and why."""

    phase: Phase
    reason: Reason


def final_part(phase: Phase) -> str:
    """The part whose job, when it ends well, makes the phase done."""
    return "merge" if isinstance(kind_of(phase), MapKind) else "work"


def missing_phases(
    standings: Sequence[Standing], plans: list[Plan], queue: Sequence[QueuedJob], statuses: dict[str, str]
) -> list[Missing]:
    """The phases that are neither done nor on their way. statuses: phase -> what its last attempt said of itself."""
    done = {standing.phase.name for standing in standings if standing.state == "done"}
    missing = []
    for standing in standings:
        phase = standing.phase
        if phase.name in done or is_on_its_way(phase, plans, queue):
            continue
        missing.append(Missing(phase, missing_reason(phase, plans, statuses.get(phase.name, ""), done)))
    return missing


def is_on_its_way(phase: Phase, plans: list[Plan], queue: Sequence[QueuedJob]) -> bool:
    job = latest_jobs(plans, phase.name).get(final_part(phase))
    return any(queued.main == job and queued.can_run for queued in queue)


def missing_reason(phase: Phase, plans: list[Plan], status: str, done: set[str]) -> Reason:
    """Why a phase that is not on its way has to be submitted. status: what its last attempt said of itself."""
    if not latest_jobs(plans, phase.name) or any(name not in done for name in phase.inputs):
        return "new"
    if status == "interrupted":
        return "interrupted"
    return "failed" if status in FAILURES else "lost"


@dataclass(frozen=True)
class Outcome:
    """What planning did. plan: None when nothing was missing.  refused: why nothing was planned again."""

    plan: Plan | None
    refused: str = ""


def plan_on_slurm(run: RunFolder, standings: Sequence[Standing], by: Literal["person", "replan"]) -> Outcome:
    """Submit what is missing. Raises UserError when SLURM refuses."""
    plans = read_plans(run)
    number = plans[-1].number + 1 if plans else 1
    queue = queued_jobs(plans, run.config().name)
    statuses = {standing.phase.name: run.state(standing.phase).get("status", "") for standing in standings}
    missing = missing_phases(standings, plans, queue, statuses)
    if not missing:
        return Outcome(None)
    if by == "replan" and (refused := _refusal(run, missing, plans, statuses)):
        return Outcome(None, refused)
    submitter = Submitter(run)
    try:
        jobs: dict[str, dict[str, str]] = {}
        for item in missing:
            ends = {name: _end(name, standings, jobs, plans) for name in item.phase.inputs}
            jobs[item.phase.name] = submitter.submit(item.phase, [job for job in ends.values() if job])
        replan = submitter.submit_replan([jobs[item.phase.name][final_part(item.phase)] for item in missing])
        plan = Plan(number, by, jobs, {item.phase.name: item.reason for item in missing}, replan)
    except BaseException:
        cancel(submitter.ids)
        raise
    if not publish_plan(run, plan):
        cancel(submitter.ids)
        return Outcome(None, "another planner was first; its plan counts")
    return Outcome(plan)


def _end(name: str, standings: Sequence[Standing], jobs: dict[str, dict[str, str]], plans: list[Plan]) -> str | None:
    """The job to wait for before a phase that reads `name` may start; None when that is done."""
    standing = next(standing for standing in standings if standing.phase.name == name)
    if standing.state == "done":
        return None
    return (jobs.get(name) or latest_jobs(plans, name))[final_part(standing.phase)]


def _refusal(run: RunFolder, missing: list[Missing], plans: list[Plan], statuses: dict[str, str]) -> str:
    """Why a re-planning job leaves it to a person."""
    if plans and plans[-1].by == "cancel":
        return "the campaign was cancelled"
    retries = run.config().cluster.retries
    for item in missing:
        if item.reason in ("failed", "lost"):
            if statuses[item.phase.name] == "user error":
                return f"phase {item.phase.name} stopped for something that a person has to mend"
            if retries_in_a_row(plans, item.phase.name) >= retries:
                return f"phase {item.phase.name} failed {retries + 1} times"
    return ""


def cancel_on_slurm(run: RunFolder) -> list[str]:
    """End the campaign's jobs, and keep re-planning jobs from bringing them back. Returns the cancelled ids."""
    plans = read_plans(run)
    number = plans[-1].number + 1 if plans else 1
    while not publish_plan(run, Plan(number, "cancel")):
        number += 1
    queue = queued_jobs(plans, run.config().name, settle=False)
    ids = sorted({job.main for job in queue if job.can_run})
    cancel(ids)
    return ids
