"""A campaign on SLURM: compare the run folder with the queue, submit what is missing with its dependencies, and leave.

Safe to run at any time, by a person or by the job that waits for a phase to fail (`replan`), with nobody awake and bounded by
cluster.retries; started twice at once, one plan counts.
"""

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launch.alerts import ask_for_person
from launch.completion import Standing, survey
from launch.graph import build_graph
from launch.guard import check_jobs, check_rights
from launch.job import assert_frozen
from launch.nodes import avoid_stuck
from launch.planner import final_part, has_failed, missing_phases, refusal
from launch.plans import Plan, latest_jobs, publish_plan, read_plans
from launch.run_folder import RunFolder
from launch.run_jobs import read_run_jobs
from launch.slurm_queue import cancel
from launch.slurm_submit import Submitter
from launch.verdict import verdict
from mlseg_core.errors import UserError, for_a_person
from mlseg_core.files import write_json

_PATIENCE_S, _AGAIN_S = 1200.0, 15.0


@dataclass(frozen=True)
class Outcome:
    """What planning did. plan: None when nothing was missing.  refused: why a person is asked.  overtaken: another plan counts."""

    plan: Plan | None
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


def plan_on_slurm(run: RunFolder, standings: Sequence[Standing], by: Literal["person", "replan"]) -> Outcome:
    """Submit what is missing. Raises UserError when SLURM refuses, and when jobs that are not ours are in the way."""
    plans = read_plans(run)
    number = plans[-1].number + 1 if plans else 1
    jobs_now = read_run_jobs(run, plans, run.config().name)
    words = {each.phase.name: verdict(run, each.phase, plans) for each in standings if each.state != "done"}
    statuses = {name: str(said.get("status", "")) for name, said in words.items()}
    missing = missing_phases(standings, plans, jobs_now.mine, statuses)
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
            ends = {name: _end(name, standings, jobs, plans) for name in item.phase.inputs}
            again = has_failed(plans, item)
            jobs[item.phase.name] = submitter.submit(item.phase, [job for job in ends.values() if job], again)
        watched = [jobs[item.phase.name][final_part(item.phase)] for item in missing]
        watch = submitter.submit_replan(replan, watched) if submitter.config.cluster.replan == "job" else ""
        plan = Plan(number, by, jobs, {item.phase.name: item.reason for item in missing}, watch)
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


def _end(name: str, standings: Sequence[Standing], jobs: dict[str, dict[str, str]], plans: list[Plan]) -> str | None:
    """The job to wait for before a phase that reads `name` may start; None when that is done."""
    standing = next(standing for standing in standings if standing.phase.name == name)
    if standing.state == "done":
        return None
    return (jobs.get(name) or latest_jobs(plans, name))[final_part(standing.phase)]


def cancel_on_slurm(run: RunFolder) -> list[str]:
    """End the campaign's jobs, and keep re-planning jobs from bringing them back. Returns the cancelled ids.

    Raises UserError when they belong to somebody else.
    """
    plans = read_plans(run)
    name = run.config().name
    check_rights(run)
    check_jobs(run, plans, read_run_jobs(run, plans, name, settle=False), cancelling=True)
    number = plans[-1].number + 1 if plans else 1
    while not publish_plan(run, Plan(number, "cancel")):
        number += 1
    queue = read_run_jobs(run, plans, name, settle=False).own
    ids = sorted({job.main for job in queue if job.can_run})
    cancel(ids)
    return ids


def replan(run_path: str) -> None:
    """What the job does that waits for a failure."""
    run = RunFolder(Path(run_path))
    assert_frozen(run)
    run.enter_working_folder()
    print(plan_again(run), flush=True)


def plan_again(run: RunFolder) -> Outcome:
    """Submit what is missing, unless the retry budget is spent; then leave an alert in RUN/alert.json."""
    try:
        outcome = _plan_patiently(run)
    except Exception as error:
        _alert(run, f"the campaign could not be planned again: {error}")
        raise
    if outcome.refused:
        _alert(run, outcome.refused)
    return outcome


def _alert(run: RunFolder, text: str) -> None:
    """For `mlseg status`, by mail and webhook. On a full disk it stays in this job's log, if it can."""
    when = time.time()
    with suppress(OSError):
        write_json(run.path / "alert.json", {"alert": text, "time": when})
    with suppress(UserError, OSError):
        ask_for_person(run, run.config(), text, when)


def _plan_patiently(run: RunFolder) -> Outcome:
    """A controller that does not answer now may be back in a minute, and after this job nobody else plans."""
    config, deadline = run.config(), time.monotonic() + _PATIENCE_S
    while True:
        try:
            return plan_on_slurm(run, survey(config, build_graph(config), run), by="replan")
        except OSError as error:
            if cause := for_a_person(error):
                return Outcome(None, f"the campaign cannot be planned again: {cause}")
            raise
        except (RuntimeError, UserError, subprocess.TimeoutExpired) as error:
            if time.monotonic() > deadline:
                raise
            print(f"planning again in {_AGAIN_S:.0f} s: {error}", flush=True)
            time.sleep(_AGAIN_S)
