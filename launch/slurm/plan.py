"""A campaign on SLURM: compare the run folder with the queue, submit what is missing with its dependencies, and leave.

Safe to run at any time, by a person or by whoever plans again (replan.py); when it is started twice at once, one plan counts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from launch.completion import Completion
from launch.guard import check_jobs, check_rights
from launch.planner import final_part, has_failed, missing_phases, refusal, verdict
from launch.run_folder import RunFolder
from launch.slurm.job_plans import JobPlan, latest_jobs, publish_plan, read_plans
from launch.slurm.nodes import avoid_stuck
from launch.slurm.queue import cancel
from launch.slurm.run_jobs import read_run_jobs
from launch.slurm.submit import Submitter
from mlseg_core.errors import UserError


@dataclass(frozen=True)
class Outcome:
    """What planning did.

    plan: None if nothing was missing.  refused: why a person has to decide.  overtaken: another planner was faster.
    """

    plan: JobPlan | None
    refused: str = ""
    overtaken: bool = False

    def __str__(self) -> str:
        if self.overtaken:
            return "another planner was first; its plan counts"
        if self.plan is None:
            return self.refused or "nothing to submit: every phase is done or on its way"
        return "\n".join(
            f"submitted {phase}: {', '.join(f'{part} {job}' for part, job in jobs.items())}"
            for phase, jobs in self.plan.jobs.items()
        )


def plan_on_slurm(run: RunFolder, completions: Sequence[Completion], by: Literal["person", "replan"]) -> Outcome:
    """Submit what is missing. Raises UserError when SLURM refuses, and when jobs that are not ours are in the way."""
    plans = read_plans(run)
    number = plans[-1].number + 1 if plans else 1
    jobs_now = read_run_jobs(run, plans, run.config().name)
    words = {each.phase.name: verdict(run, each.phase, plans) for each in completions if each.state != "done"}
    statuses = {name: str(said.get("status", "")) for name, said in words.items()}
    missing = missing_phases(completions, plans, jobs_now.mine, statuses)
    if not missing:
        return Outcome(None)
    try:
        check_jobs(run, plans, jobs_now)
    except UserError as error:
        if by == "replan":
            return Outcome(None, str(error))
        raise
    if by == "replan" and (refused := refusal(run, missing, plans, words)):
        return Outcome(None, refused)
    if by == "replan":
        last_seen_by_person = max((plan.made for plan in plans if plan.by == "person"), default=0.0)
        for item in missing:
            avoid_stuck(run, item.phase, since=last_seen_by_person)
    submitter = Submitter(run)
    try:
        jobs: dict[str, dict[str, str]] = {}
        for item in missing:
            ends = {name: _end(name, completions, jobs, plans) for name in item.phase.inputs}
            again = has_failed(plans, item)
            jobs[item.phase.name] = submitter.submit(item.phase, [job for job in ends.values() if job], again)
        watched = [jobs[item.phase.name][final_part(item.phase)] for item in missing]
        watch = submitter.submit_replan(watched) if submitter.config.cluster.replan == "job" else ""
        plan = JobPlan(number, by, jobs, {item.phase.name: item.reason for item in missing}, watch)
    except BaseException:
        cancel(submitter.ids)
        raise
    if not publish_plan(run, plan):
        cancel(submitter.ids)
        return Outcome(None, overtaken=True)
    replaced = {job for item in missing for job in latest_jobs(plans, item.phase.name).values()}
    # what still waits, waits for a job that has failed: it would never start, and some sites keep it in the queue for ever
    cancel(sorted({job.main for job in jobs_now.mine if job.main in replaced and job.state == "PENDING"}))
    return Outcome(plan)


def _end(
    name: str, completions: Sequence[Completion], jobs: dict[str, dict[str, str]], plans: list[JobPlan]
) -> str | None:
    """The job to wait for before a phase that reads `name` may start; None when that is done."""
    completion = next(completion for completion in completions if completion.phase.name == name)
    if completion.state == "done":
        return None
    return (jobs.get(name) or latest_jobs(plans, name))[final_part(completion.phase)]


def cancel_on_slurm(run: RunFolder) -> list[str]:
    """End the campaign's jobs, and keep re-planning jobs from bringing them back. Returns the cancelled ids.

    Raises UserError when they belong to somebody else.
    """
    plans = read_plans(run)
    name = run.config().name
    check_rights(run)
    check_jobs(run, plans, read_run_jobs(run, plans, name, settle=False), cancelling=True)
    number = plans[-1].number + 1 if plans else 1
    while not publish_plan(run, JobPlan(number, "cancel")):
        number += 1
    queue = read_run_jobs(run, plans, name, settle=False).own
    ids = sorted({job.main for job in queue if job.can_run})
    cancel(ids)
    return ids
