"""Only one run of a campaign at a time: what is refused before anything is submitted, started or cancelled, and why.

In: the run folder, what SLURM's queue and the local planner's record say. Out: nothing, or an error that names who or what
is in the way and what to do about it.
"""

import os
import shlex
from collections.abc import Sequence

from launch.config import CampaignConfig
from launch.local.liveness import running_planner
from launch.run_folder import RunFolder
from launch.run_folder.identity import may_write, owner_of
from launch.slurm.job_plans import JobPlan, planner_of, read_plans
from launch.slurm.queue import QueuedJob, has_slurm, hides_jobs_of
from launch.slurm.run_jobs import RunJobs, read_run_jobs
from mlseg_core.errors import UserError
from mlseg_core.node import user_name

_MOST_SHOWN = 8


def check_free(run: RunFolder, config: CampaignConfig) -> None:
    """Before a start: nobody else runs it, and no job of another run, or of another place, would write beside it.

    Raises UserError.
    """
    check_rights(run)
    check_local(run)
    plans = read_plans(run)
    if config.cluster.executor == "local" and not plans:
        return
    if not has_slurm():
        _check_reachable(run, config, plans)
        return
    check_jobs(run, plans, read_run_jobs(run, plans, config.name, settle=False))


def check_rights(run: RunFolder) -> None:
    """Raises UserError when this user may not write in the run folder."""
    if not may_write(run):
        owner = owner_of(run.path)
        raise UserError(
            "you may not write in this run folder"
            + ("" if owner is None else f", which belongs to {user_name(owner)}"),
            run.path,
            "Ask its owner to go on with it, or start one of your own: name=… or runs=…",
        )


def check_local(run: RunFolder) -> None:
    """Raises UserError when a local planner that is not this user's, or not this machine's, runs the campaign."""
    planner = running_planner(run.path)
    if planner is not None and not planner.is_ours:
        raise UserError(f"the campaign {planner.words}", run.path, f"{planner.user} can end it there: mlseg cancel.")


def check_jobs(run: RunFolder, plans: Sequence[JobPlan], jobs: RunJobs, cancelling: bool = False) -> None:
    """Raises UserError when live jobs belong to somebody else, another run or another place, or cannot be seen.

    cancelling: jobs of this run may be elsewhere.
    """
    others = _live([*jobs.own, *jobs.strangers], ours=False)
    if others:
        who = ", ".join(dict.fromkeys(job.user or user_name(job.uid) for job in others))
        raise UserError(
            f"{ids_of(others)} of this campaign {_belong(others)} to {who}",
            run.path,
            f"Only {who} can go on with it or end it: mlseg cancel {shlex.quote(str(run.path))}",
        )
    if hidden := hidden_planner(run, plans):
        raise UserError(
            f"its jobs were submitted by {hidden}, and this SLURM shows nobody the jobs of others (PrivateData)",
            run.path,
            f"Ask {hidden} to go on with it, or to end it: mlseg cancel {shlex.quote(str(run.path))}",
        )
    if cancelling:
        return
    if strangers := _live(jobs.strangers):
        raise UserError(
            f"{ids_of(strangers)} of another run still {_verb('write', strangers)} into this folder:"
            " that run was deleted or moved since",
            run.path,
            f"Move it back, or end {_them(strangers)} and start again: scancel {_numbers(strangers)}",
        )
    if elsewhere := _live(jobs.elsewhere):
        raise UserError(
            f"{ids_of(elsewhere)} of this run {_verb('write', elsewhere)} to {elsewhere[0].run_path},"
            " from where its folder was moved",
            run.path,
            f"Move it back, or end {_them(elsewhere)}: mlseg cancel {shlex.quote(str(run.path))}",
        )
    if orphans := _live(jobs.orphans):
        raise UserError(
            f"{ids_of(orphans)} {_belong(orphans)} to a run of the same name in {orphans[0].run_path}, which is gone",
            run.path,
            f"Move that folder back, or end {_them(orphans)} and start again: scancel {_numbers(orphans)}",
        )


def hidden_planner(run: RunFolder, plans: Sequence[JobPlan]) -> str:
    """Name of whoever submitted the newest jobs where SLURM does not show us that user's jobs; "" where it does."""
    if not plans or plans[-1].by == "cancel":
        return ""
    uid = planner_of(run, plans[-1])
    return user_name(uid) if hides_jobs_of(uid) else ""


def _check_reachable(run: RunFolder, config: CampaignConfig, plans: Sequence[JobPlan]) -> None:
    """Raises UserError when the campaign's jobs may be on a SLURM that this machine does not have."""
    if plans and plans[-1].by != "cancel" and config.cluster.executor != "local":
        raise UserError(
            "its jobs were submitted to SLURM, which this machine does not have",
            run.path,
            "Go on where SLURM is; once they have ended, add cluster.executor=local to go on here.",
        )


def ids_of(jobs: Sequence[QueuedJob]) -> str:
    """`job 12` or `jobs 12, 13`, with one number for an array."""
    numbers = _mains(jobs)
    shown = ", ".join(numbers[:_MOST_SHOWN]) + (
        f" and {len(numbers) - _MOST_SHOWN} more" if numbers[_MOST_SHOWN:] else ""
    )
    return f"job {shown}" if len(numbers) == 1 else f"jobs {shown}"


def _live(jobs: Sequence[QueuedJob], ours: bool = True) -> list[QueuedJob]:
    """Those jobs that run or may run: this user's, or all others'."""
    return [job for job in jobs if job.can_run and (job.uid == os.getuid()) == ours]


def _numbers(jobs: Sequence[QueuedJob]) -> str:
    return " ".join(_mains(jobs))


def _mains(jobs: Sequence[QueuedJob]) -> list[str]:
    return sorted({job.main for job in jobs}, key=lambda number: (len(number), number))


def _is_one(jobs: Sequence[QueuedJob]) -> bool:
    return len({job.main for job in jobs}) == 1


def _them(jobs: Sequence[QueuedJob]) -> str:
    return "it" if _is_one(jobs) else "them"


def _belong(jobs: Sequence[QueuedJob]) -> str:
    return _verb("belong", jobs)


def _verb(plural: str, jobs: Sequence[QueuedJob]) -> str:
    return f"{plural}s" if _is_one(jobs) else plural
