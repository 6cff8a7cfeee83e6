"""What a person types on a cluster: sbatch slurm/master.sh, mlseg, squeue."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cluster.slurm_host import SlurmHost

PROJECT = Path(__file__).parents[2]
_LIVE = {"PENDING", "RUNNING", "COMPLETING", "CONFIGURING", "SUSPENDED", "REQUEUED", "RESIZING", "STOPPED"}


def sbatch(slurm: SlurmHost, *words: object) -> str:
    """Submit slurm/master.sh; returns its job id."""
    environment = {**slurm.environment, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["sbatch", "--parsable", "-o", str(slurm.folder / "master-%j.log"), "slurm/master.sh", *map(str, words)]
    answer = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True, check=True)
    return answer.stdout.strip()


def said_by(slurm: SlurmHost, master: str) -> str:
    return (slurm.folder / f"master-{master}.log").read_text()


def mlseg(slurm: SlurmHost, *words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "launch.cli", *map(str, words)]
    return subprocess.run(command, cwd=PROJECT, env=slurm.environment, capture_output=True, text=True, check=False)


def status(slurm: SlurmHost, where: Path) -> dict[str, Any]:
    answer = mlseg(slurm, "status", where, "--json")
    assert answer.returncode == 0, answer.stderr
    return json.loads(answer.stdout)


def is_quiet(slurm: SlurmHost, since: str) -> bool:
    """True when every job from `since` on has ended; a controller that does not answer is not quiet."""
    jobs = slurm.jobs()
    return bool(jobs) and not any(state in _LIVE for job, state in jobs.items() if main_id(job) >= int(since))


def main_id(job: str) -> int:
    return int(job.split("_")[0])
