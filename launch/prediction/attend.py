"""Waits for the jobs of a request and shows how they stand; where jobs may not submit jobs, plans again itself.

Ending it ends no job. Two that attend the same request do no harm.
"""

import logging
import subprocess
import time
from dataclasses import replace

from launch.prediction.queue import Queue, Results, plan_again, queued, results
from launch.prediction.request import Request
from launch.run_folder import RunFolder
from launch.slurm.job_plans import read_plans
from launch.slurm.queue import QueuedJob, in_words
from launch.slurm.silence import silence_in_words
from mlseg_core.errors import Interrupted
from mlseg_core.exactly_once.unit_status import UnitStatus
from mlseg_core.progress import Display, Tally
from mlseg_core.store import open_store

_log = logging.getLogger(__name__)
EVERY_S = 5.0
_PATIENCE_S = 1200.0


def attend(run: RunFolder, request: Request, every_s: float = EVERY_S) -> Results:
    """Return once no job is left in the queue and nothing can be planned again.

    Raises Interrupted on Ctrl-C and where somebody cancelled the jobs, UserError where a person has to fix something,
    RuntimeError when SLURM does not answer for 20 min.
    """
    units = request.units()
    status = UnitStatus(open_store(request.out), units)
    display, begun, at_start = Display("predict"), time.monotonic(), len(status.done)
    try:
        while True:
            queue = _patiently(run, request)
            if not queue.jobs:
                found = results(units, request.out)
                if found.left and queue.cancelled:
                    raise Interrupted("the jobs were cancelled")
                if not plan_again(run, request, found):
                    return found
                _log.warning("%d slides are left: submitted again", len(found.left))
                continue
            status.refresh(force=True)
            rate = (len(status.done) - at_start) / max(1.0, time.monotonic() - begun)
            tally = Tally("slides", 0, len(units), rate, _words(queue.jobs), time.time())
            display.update(replace(tally, **{**status.figures(), "pieces": 0}))
            time.sleep(every_s)
    except KeyboardInterrupt:
        raise Interrupted(f"the jobs go on; {how_to_end(run)}") from None
    finally:
        display.close()


def how_to_end(run: RunFolder) -> str:
    """For a person: the command that ends the jobs of the newest plan."""
    plans = read_plans(run)
    ids = [job for parts in plans[-1].jobs.values() for job in parts.values()] if plans else []
    return f"to end them: scancel {' '.join(ids)}"


def _patiently(run: RunFolder, request: Request) -> Queue:
    """queued, asked again while SLURM does not answer."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return queued(run, request)
        except (RuntimeError, subprocess.TimeoutExpired) as error:
            if time.monotonic() > deadline:
                raise
            _log.warning(silence_in_words(error))
            time.sleep(15)


def _words(jobs: list[QueuedJob]) -> str:
    """`2 jobs run, 3 wait (jobs of higher priority come first)`."""
    waiting = [job for job in jobs if job.state == "PENDING" and job.reason != "Dependency"]
    running = sum(job.state != "PENDING" for job in jobs)
    said = [f"{running} jobs run"] if running else []
    if waiting:
        said.append(f"{len(waiting)} wait ({in_words(waiting[0].reason)})")
    return ", ".join(said)
