"""The environment variables of a job's processes: those that it is started with, and those by which its ranks find each other.

Rank 0 picks an address that other nodes can reach and a free port, and writes both to a file that is named by the attempt, so that
the file of an earlier start is never read. RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT follow from it.
"""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from submitit import JobEnvironment

from launch.resources.blocks import JobConfig
from launch.resources.gpus import asked_gpus
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import read_json, write_json

START = "MLSEG_START"
"""The time at which a batch script began, the same in all its processes. The script itself sets it."""


def job_environment(run: RunFolder, job: JobConfig) -> dict[str, str]:
    """The variables of every job: its code (the frozen one, not the working folder's), a rank's threads, CPU if it has no GPUs."""
    environment = {"PYTHONPATH": str(run.code), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(job.cpus_per_task)}
    if not asked_gpus(job):
        environment["DS_ACCELERATOR"] = "cpu"
    return environment


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set the variables within the `with` block."""
    old = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


_WAIT_S = 120.0


def export_ranks(environment: JobEnvironment, attempt: str, folder: Path) -> None:
    """Set torch.distributed's variables. attempt: a name that differs at each start.  folder: one that the job's nodes share."""
    os.environ["RANK"] = str(environment.global_rank)
    os.environ["WORLD_SIZE"] = str(environment.num_tasks)
    export_place(environment)
    path = folder / f"rendezvous-{attempt}.json"
    if environment.global_rank == 0:
        write_json(path, {"address": _address(environment), "port": _free_port()})
    deadline = time.monotonic() + _WAIT_S
    while not path.exists():
        if time.monotonic() > deadline:
            raise TimeoutError(f"rank 0 did not write {path} within {_WAIT_S:.0f} s; did it start?")
        time.sleep(0.1)
    place = read_json(path)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = place["address"], str(place["port"])


def export_place(environment: JobEnvironment) -> None:
    """Set this process's place among those of its node, which decides on its GPU (mlseg_dist/device.py)."""
    os.environ["LOCAL_RANK"] = str(environment.local_rank)
    os.environ["LOCAL_WORLD_SIZE"] = str(environment.num_tasks // environment.num_nodes)


def _address(environment: JobEnvironment) -> str:
    if environment.num_nodes == 1:
        return "127.0.0.1"
    node = os.environ.get("SLURMD_NODENAME", environment.hostnames[0])
    for name in (node, _slurm_address(node), socket.gethostname()):
        if name and _resolves(name):
            return name
    raise UserError(
        f"node {node!r} has no address that resolves", "SLURM", "Ask the site for its DNS name or NodeAddr."
    )


def _slurm_address(node: str) -> str:
    if shutil.which("scontrol") is None:  # in a container
        return ""
    shown = subprocess.run(["scontrol", "show", "node", node], capture_output=True, text=True, timeout=60, check=False)
    found = re.search(r"NodeAddr=(\S+)", shown.stdout)
    return found.group(1) if found else ""


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])
