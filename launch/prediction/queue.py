"""Submits the array that predicts and the job that ends it, and plans again what no job has done.

In: a request that is written down. Out: jobs in the queue, RUN/plans/NNNN.json. Of two planners that start at once one counts.
"""

import importlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from launch.prediction.request import Request
from launch.private import private_logs
from launch.run_folder import RunFolder
from launch.run_folder.identity import run_id
from launch.slurm.job_plans import JobPlan, Reason, publish_plan, read_plans, retries_in_a_row
from launch.slurm.queue import QueuedJob, cancel
from launch.slurm.run_jobs import read_run_jobs
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.records import read_failed
from mlseg_core.exactly_once.run import Failed, Unit, is_done
from mlseg_core.files import read_json
from mlseg_core.store import open_store

_JOBS = "launch.prediction.jobs"  # by name: the last job plans with this module
PHASE = "predict"
_WORK, _END = f"{PHASE}-work", f"{PHASE}-merge"
REFUSED = "refused.json"
"""Written by a job that met what only a person can fix."""


@dataclass(frozen=True)
class Results:
    """How far a request has come. failed: slides in quarantine. left: slides that are not done and may still be tried."""

    failed: list[Failed]
    left: list[Unit]


def results(units: Sequence[Unit], out: Path) -> Results:
    """Reads the records in OUT."""
    store, found = open_store(out), Results([], [])
    for unit in units:
        if is_done(store, unit):
            continue
        why = read_failed(store, unit)
        if why is not None and why.is_final:
            found.failed.append(why)
        else:
            found.left.append(unit)
    return found


def elements_for(request: Request, count: int) -> int:
    """Elements of the array for so many slides: no more than there is work for."""
    job = request.cluster.job("predict")
    return max(1, min(job.workers, -(-count // job.tasks)))


def submit(
    run: RunFolder, request: Request, count: int, by: Literal["person", "replan"], reason: Reason = "new"
) -> bool:
    """Queue jobs for so many slides. Returns False where another planner was first. Raises UserError when SLURM refuses."""
    from launch.slurm.submit import job_executor, submitted

    jobs = importlib.import_module(_JOBS)

    cluster, campaign, logs = request.cluster, request.teacher.campaign, run.plans / "logs"
    job, small = cluster.job("predict"), cluster.job("small")
    job = job.again() if reason in ("failed", "lost") else job
    plans, elements = read_plans(run), elements_for(request, count)
    limit = "Set cluster.predict.workers to fewer, or wait until other jobs have ended."
    ids: list[str] = []
    try:
        executor = job_executor(run, campaign, logs, _WORK, job, mark=run_id(run))
        arguments = [(str(run.path), worker, elements) for worker in range(elements)]
        with private_logs(logs, job):
            ids.append(
                submitted(
                    "predict", lambda: executor.map_array(jobs.predict_slides, *zip(*arguments, strict=True)), limit
                )
            )
        last = job_executor(run, campaign, logs, _END, small, mark=run_id(run), calls_sbatch=True)
        last.update_parameters(dependency=f"afterany:{ids[0]}")
        with private_logs(logs, small):
            ids.append(submitted("small", lambda: [last.submit(jobs.finish, str(run.path))], limit))
        number = plans[-1].number + 1 if plans else 1
        plan = JobPlan(number, by, {PHASE: {"work": ids[0], "merge": ids[1]}}, {PHASE: reason})
        if by == "person":
            (run.path / REFUSED).unlink(missing_ok=True)
        is_first = publish_plan(run, plan)
    except BaseException:
        cancel(ids)
        raise
    if not is_first:
        cancel(ids)
    return is_first


@dataclass(frozen=True)
class Queue:
    """jobs: the request's that run or may run later. cancelled: somebody ended the last job, which plans again."""

    jobs: list[QueuedJob]
    cancelled: bool = False


def queued(run: RunFolder, request: Request) -> Queue:
    """Ask SLURM. Raises RuntimeError, TimeoutExpired when it does not answer."""
    plans = read_plans(run)
    if not plans:
        return Queue([])
    jobs = read_run_jobs(run, plans, request.teacher.campaign, settle=False, everyone=False).mine
    last = plans[-1].jobs[PHASE]["merge"]
    cancelled = any(job.main == last and job.state == "CANCELLED" for job in jobs)
    return Queue([job for job in jobs if job.can_run], cancelled)


def plan_again(run: RunFolder, request: Request, found: Results) -> bool:
    """Submit jobs for what is left. Returns False where nothing is left, or where `cluster.retries` attempts did nothing.

    Raises UserError where a job met what only a person can fix, or SLURM refuses.
    """
    plans = read_plans(run)
    if not found.left or not plans:
        return False
    _refuse(run)
    reason: Reason = "interrupted" if _gained(request, plans[-1].made) else "failed"
    if reason == "failed" and retries_in_a_row(plans, PHASE) >= request.cluster.retries:
        return False
    submit(run, request, len(found.left), "replan", reason)
    return True


def _refuse(run: RunFolder) -> None:
    """Raises the UserError that a job met."""
    path = run.path / REFUSED
    if path.is_file():
        said = read_json(path)
        raise UserError(str(said["what"]), str(said["where"]), str(said["fix"]))


def _gained(request: Request, since: float) -> bool:
    """Whether a slide was done since then: whoever takes time limits in steps gets on, and spends no retry."""
    done = request.out / "done"
    for one in request.slides:
        path = done / f"{one.name}.json"
        if path.exists() and path.stat().st_mtime >= min(since, time.time()):
            return True
    return False
