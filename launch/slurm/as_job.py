"""`mlseg run --as-job`: the start itself as a job, with the resources of `cluster.small`, where a login node is not for work.

`sbatch slurm/master.sh CONFIG` does the same where SLURM needs no partition or account to be named: its #SBATCH lines cannot read a
site's file.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from launch.private import holds_secrets
from launch.resources.blocks import JobConfig
from launch.slurm.refusal import refusal
from launch.slurm.submit import sbatch_environment
from mlseg_core.errors import UserError

_TIMEOUT_S = 60
_LOG = "mlseg-master-%j.log"


def start_as_job(job: JobConfig, words: Sequence[str]) -> str:
    """Submit `mlseg run WORDS`, from this folder. job: cluster.small, settled.  Returns the job's id. Raises UserError."""
    options = {
        "job-name": "mlseg-master",
        "ntasks": "1",
        "cpus-per-task": str(job.cpus_per_task),
        "time": str(job.minutes),
        "output": _LOG,
        "chdir": str(Path.cwd()),
        "mem": job.mem,
        "partition": job.partition,
        "account": job.account,
        "qos": job.qos,
        **job.extra,
    }
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items() if value is not None]
    command = shlex.join([sys.executable, "-m", "launch.cli", "run", *words])
    answer = subprocess.run(
        ["sbatch", "--parsable", *flags],
        input="\n".join(["#!/bin/bash", *_protect(job), *job.setup, f"exec {command}", ""]),
        capture_output=True,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
        env=sbatch_environment(),
    )
    if answer.returncode:
        said = refusal(answer.stderr)
        raise UserError(f"SLURM refused the job that starts the campaign: {said}", "cluster.small", "Correct it.")
    return answer.stdout.strip().split(";")[0]


def _protect(job: JobConfig) -> list[str]:
    """The log is made before the script runs; what set-up lines print is for its owner alone."""
    return [f"chmod 600 {_LOG.replace('%j', '$SLURM_JOB_ID')}"] if holds_secrets(job) else []
