"""Which jobs in the queue belong to a run, whoever owns them: their ids, names and run folders tell.

A run made by an earlier version has no id, and its jobs' names have none (job_names.py). A slurmctld that has lost its state gives
old numbers to other jobs: a number alone proves nothing.
"""

import os
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from launch.paths import same_place
from launch.run_folder import RunFolder
from launch.run_folder.identity import run_id
from launch.slurm.job_names import has_title, id_in, is_called, is_ours
from launch.slurm.job_plans import JobPlan, planners
from launch.slurm.queue import QueuedJob, read_queue


@dataclass(frozen=True)
class RunJobs:
    """mine: jobs of the run's plans, submitted from where its folder lies.

    elsewhere: the run's jobs that were submitted from another folder: it was moved or copied since.
    strangers: jobs of other runs that write into this folder: it was deleted, or moved away, and made anew since.
    orphans: this user's jobs of a campaign of this name whose run folder is gone.
    """

    mine: list[QueuedJob]
    elsewhere: list[QueuedJob]
    strangers: list[QueuedJob]
    orphans: list[QueuedJob]

    @property
    def own(self) -> list[QueuedJob]:
        """All jobs of this run."""
        return [*self.mine, *self.elsewhere]


def read_run_jobs(
    run: RunFolder, plans: Sequence[JobPlan], campaign: str, settle: bool = True, everyone: bool = True
) -> RunJobs:
    """Ask SLURM. everyone: all users' jobs; else only those of this user and of whoever has planned the run.

    Raises RuntimeError, TimeoutExpired.
    """
    users = None if everyone else {os.getuid(), *planners(run, plans)}
    queue = read_queue(lambda job: is_ours(job.name), users, settle)
    return sort_jobs(queue, run, run_id(run), plans, campaign)


def sort_jobs(
    queue: Collection[QueuedJob], run: RunFolder, own_id: str, plans: Sequence[JobPlan], campaign: str
) -> RunJobs:
    """Which of these jobs have to do with the run. own_id: run_id."""
    titles = {job: title for plan in plans for job, title in plan.titles().items()}
    found = RunJobs([], [], [], [])
    for job in queue:
        here = job.run_path is None or same_place(job.run_path, run.path)
        if is_of_run(job, own_id, titles):
            if here:
                found.mine.append(job)
            elif id_in(job.name) or not _is_run(
                job.run_path or run.path
            ):  # else the original's, of which this is a copy
                found.elsewhere.append(job)
        elif own_id and id_in(job.name) == own_id:  # of a planner that died, or is at it
            if not here:
                found.elsewhere.append(job)
        elif job.run_path is None:
            continue
        elif here:
            if own_id or id_in(job.name) or not run.exists():
                found.strangers.append(job)
        elif job.uid == os.getuid() and is_called(job.name, campaign) and not _is_run(job.run_path):
            found.orphans.append(job)
    return found


def is_of_run(job: QueuedJob, own_id: str, titles: dict[str, str]) -> bool:
    """True when a plan names the job, by number and by name. titles: job id -> what it does, of all plans."""
    if job.main not in titles:
        return False
    return id_in(job.name) in ("", own_id) and has_title(job.name, titles[job.main])


def _is_run(folder: Path) -> bool:
    """Whether a run lies there. True as well where this user may not look."""
    try:
        return (folder / "campaign.yaml").is_file()
    except OSError:
        return True
