"""What the SLURM queue says, and what we ask of it, in plain text: --json needs a plugin that sites may lack."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from mlseg_core.errors import UserError

_SEPARATOR = "\x1f"
_NOT_CONFIGURED = "Could not establish a configuration source"
_SCRIPT = re.compile(r"(?P<run>/.+)/(?:phases/[^/]+|plans)/logs/\.?submission_file_[^/]+\.sh\s*")
_FORM = ("%F", "%i", "%j", "%T", "%r", "%N", "%S", "%U", "%u", "%o")


@dataclass(frozen=True)
class QueuedJob:
    """One job (or array element) in the queue, or just ended. main: the array's id.  reason: why pending or ended.

    start: when it started or is expected to, as SLURM says it; "" when it does not know.  uid, user: its owner.
    command: path of its batch script.
    """

    main: str
    id: str
    name: str
    state: str
    reason: str
    nodes: str
    start: str = ""
    uid: int = -1
    user: str = ""
    command: str = ""

    @cached_property
    def run_path(self) -> Path | None:
        """The run folder that it was submitted from; None of other jobs, and where squeue does not say."""
        found = _SCRIPT.fullmatch(self.command)
        return Path(found["run"]) if found else None

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
        f"SLURM does not answer: {_down_line(answer.stdout) or _last_line(answer.stdout + answer.stderr)}",
        "sbatch",
        "Try again later, or set cluster.executor=local to run on this machine.",
    )


def read_queue(
    wanted: Callable[[QueuedJob], bool], users: Collection[int] | None = None, settle: bool = True
) -> list[QueuedJob]:
    """The wanted jobs of these users (None: of all users) that SLURM shows us. Raises RuntimeError, TimeoutExpired.

    settle: wait for jobs that are just ending or being requeued.
    """
    deadline = time.monotonic() + 90
    while True:
        jobs = [job for job in _squeue(users) if wanted(job)]
        if not settle or all(job.state != "COMPLETING" for job in jobs) or time.monotonic() > deadline:
            return jobs
        time.sleep(1)


def _squeue(users: Collection[int] | None) -> list[QueuedJob]:
    whose = [] if users is None else ["-u", ",".join(map(str, sorted(users)))]
    answer = _run(["squeue", "-h", "-r", "-t", "all", *whose, "-o", _SEPARATOR.join(_FORM)])
    jobs = []
    for line in answer.splitlines():
        fields = line.split(_SEPARATOR)
        if len(fields) != len(_FORM):  # a stranger's job whose name holds a line break
            continue
        main, job, name, state, reason, nodes, start, uid, user, command = fields
        start = "" if start == "N/A" else start
        jobs.append(QueuedJob(main.strip(), job.strip(), name, state, reason, nodes, start, int(uid), user, command))
    return jobs


def hides_jobs_of(uid: int) -> bool:
    """True when squeue may show us none of this user's jobs (PrivateData=jobs). True as well when SLURM does not say."""
    if uid == os.getuid() or os.getuid() == 0:
        return False
    answer = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"^PrivateData\s*=\s*(.*)$", answer.stdout, re.MULTILINE)
    return found is None or bool({"jobs", "all"} & set(re.split(r"[,\s]+", found.group(1).strip().lower())))


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


def _down_line(text: str) -> str:
    """`Slurmctld(primary) at HOST is DOWN`, which scontrol follows by a banner of asterisks."""
    return next((line.strip() for line in text.splitlines() if line.rstrip().endswith("is DOWN")), "")


def _last_line(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else "no answer"


_WORDS = {
    "Priority": "jobs of higher priority come first",
    "Resources": "waits for free nodes",
    "Dependency": "waits for the phases before it",
    "DependencyNeverSatisfied": "a phase before it failed",
    "BeginTime": "starts later, as asked",
    "JobArrayTaskLimit": "waits for other workers of its array",
    "JobHeldUser": "held by its owner; release it: scontrol release",
    "JobHeldAdmin": "held by an administrator",
    "ReqNodeNotAvail": "a node that it asks for is down or reserved",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition takes no jobs now",
    "PartitionNodeLimit": "asks for more nodes than the partition allows",
    "PartitionTimeLimit": "its time limit is over the partition's",
    "Reservation": "waits for its reservation",
    "Licenses": "waits for a licence",
    "launch failed requeued held": "it could not be started and is held; release it: scontrol release",
    "BadConstraints": "no node has what it asks for",
    "None": "just submitted",
}


def in_words(reason: str) -> str:
    """Why SLURM has not started a job yet, in words. reason: squeue's; one that is not known here is returned unchanged."""
    name = reason.strip("()").split(",")[0]
    if name in _WORDS:
        return _WORDS[name]
    if name.startswith("QOS"):
        return f"a limit of the QOS ({name})"
    if name.startswith("Assoc"):
        return f"a limit of the account ({name})"
    return reason
