"""What the SLURM queue says, and what we ask of it, in plain text: --json needs a plugin that sites may lack."""

import os
import shutil
import subprocess
import time
from dataclasses import dataclass

from mlseg_core.errors import UserError

_SEPARATOR = "\x1f"
_NOT_CONFIGURED = "Could not establish a configuration source"


@dataclass(frozen=True)
class QueuedJob:
    """One job (or array element) in the queue, or just ended. main: the array's id.  reason: why pending or ended.

    start: when it started or is expected to, as SLURM says it; "" when it does not know.
    """

    main: str
    id: str
    name: str
    state: str
    reason: str
    nodes: str
    start: str = ""

    @property
    def can_run(self) -> bool:
        """True when the job runs, or may run later by itself."""
        return self.state not in _ENDED and self.reason != "DependencyNeverSatisfied"


_ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "TIMEOUT"}


def has_slurm() -> bool:
    """True when this machine submits to a SLURM. One that is configured but silent is an error. Raises UserError."""
    if shutil.which("sbatch") is None:
        return False
    answer = subprocess.run(["scontrol", "ping"], capture_output=True, text=True, timeout=60, check=False)
    if answer.returncode == 0:
        return True
    if _NOT_CONFIGURED in answer.stderr:
        return False  # the commands are installed, but no cluster is
    raise UserError(
        f"SLURM does not answer: {_last_line(answer.stdout + answer.stderr)}",
        "sbatch",
        "Try again later, or set cluster.executor=local to run on this machine.",
    )


def read_queue(ids: set[str], settle: bool = True) -> list[QueuedJob]:
    """The user's jobs in the queue whose main id is in `ids`. settle: wait for jobs that are just ending or being requeued."""
    deadline = time.monotonic() + 90
    while True:
        jobs = [job for job in _squeue() if job.main in ids]
        if not settle or all(job.state != "COMPLETING" for job in jobs) or time.monotonic() > deadline:
            return jobs
        time.sleep(1)


def _squeue() -> list[QueuedJob]:
    form = _SEPARATOR.join(["%F", "%i", "%j", "%T", "%r", "%N", "%S"])
    answer = _run(["squeue", "-h", "-r", "-t", "all", "-u", str(os.getuid()), "-o", form])
    jobs = []
    for line in answer.splitlines():
        main, job, name, state, reason, nodes, start = line.split(_SEPARATOR)
        jobs.append(QueuedJob(main.strip(), job.strip(), name, state, reason, nodes, "" if start == "N/A" else start))
    return jobs


def cancel(ids: list[str]) -> None:
    """End jobs; those that have ended already are no error."""
    if ids:
        subprocess.run(["scancel", *ids], capture_output=True, text=True, timeout=60, check=False)


def requeue(job_id: str) -> None:
    """Put a running job back in the queue. Where the site forbids it, the exit status tells the re-planning job."""
    if shutil.which("scontrol") is not None:  # a container may lack it
        subprocess.run(["scontrol", "requeue", job_id], timeout=60, check=False)


def _run(command: list[str]) -> str:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    if answer.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {_last_line(answer.stderr)}")
    return answer.stdout


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no answer"
