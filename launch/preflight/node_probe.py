"""What a preflight job finds on its nodes; runs once a rank, through submitit. Leaves FOLDER/rank-N.json."""

import os
import platform
import shutil
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from launch.environment import export_ranks
from launch.preflight.versions import check_dali, check_packages, required
from launch.slurm.refusal import refusal
from mlseg_core.files import write_json

_TIMEOUT_S = 60


def look(folder: str, run_parent: str, local: list[str], dali: list[str], share: bool, attempt: str = "0") -> None:
    """run_parent: where the run folder will lie. local: folders on the node whose free space counts. dali: keys of the config that
    ask for DALI. share: the job's processes are a map's, which do not talk to each other and may work on one GPU."""
    from submitit import JobEnvironment

    environment = JobEnvironment()
    facts: dict[str, Any] = {"rank": environment.global_rank, "host": socket.gethostname(), "error": ""}
    facts |= {"python": platform.python_version(), "interpreter": sys.executable}
    facts |= {"cpus": len(os.sched_getaffinity(0)), "visible": Path(run_parent).is_dir()}
    facts["free"] = {name: _free(Path(name)) for name in local}
    facts["packages"] = _packages(dali)
    facts["no_sbatch"] = _no_sbatch() if environment.cluster == "slurm" and environment.global_rank == 0 else ""
    try:
        export_ranks(environment, f"{environment.job_id}-{attempt}", Path(folder))
        facts |= _devices(share)
        facts |= _agree(environment.num_tasks, "gloo" if share or not facts["gpus"] else "nccl")
    except Exception as error:
        facts["error"] = f"{type(error).__name__}: {error}".split("\n")[0]
        raise
    finally:
        write_json(Path(folder) / f"rank-{environment.global_rank}.json", facts)


def _no_sbatch() -> str:
    """Why a job here may not submit jobs; empty when it may. Nothing is submitted."""
    if shutil.which("sbatch") is None:
        return "there is no sbatch"
    command = ["sbatch", "--test-only", "--wrap=true"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return refusal(answer.stderr) if answer.returncode else ""


def _free(path: Path) -> int | None:
    """Free bytes; None if there is no such file system."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return shutil.disk_usage(path).free if path != path.parent else None


def _packages(dali: list[str]) -> list[list[str]]:
    """What does not fit, and how to fix it, of the packages that this node's Python would import."""
    known = required()
    found = [*check_packages(known[""]), *(check_dali(dali, known) if dali else ())]
    return [[one.seen, one.fix] for one in found if one.mark == "bad"]


def _devices(share: bool) -> dict[str, Any]:
    import torch

    from mlseg_dist.device import device_for

    found = {"torch": torch.__version__, "cuda": torch.version.cuda or "", "gpus": torch.cuda.device_count()}
    if torch.cuda.is_available():
        found |= {"gpu": torch.cuda.get_device_name(0), "driver": _driver()}
        found["nccl"] = ".".join(map(str, torch.cuda.nccl.version()))
        torch.cuda.set_device(device_for(share))
    return found


def _driver() -> str:
    if shutil.which("nvidia-smi") is None:
        return "unknown"
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    answer = subprocess.run(query, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    return (answer.stdout.splitlines() or ["unknown"])[0].strip()


def _agree(ranks: int, backend: str) -> dict[str, Any]:
    """Let all ranks meet and add up ones. Raises RuntimeError if the sum is wrong."""
    import torch
    from torch import distributed

    begun = time.monotonic()
    distributed.init_process_group(backend, timeout=timedelta(seconds=_TIMEOUT_S))
    try:
        ones = torch.ones(1, device="cuda" if backend == "nccl" else "cpu")
        distributed.all_reduce(ones)
        if int(ones.item()) != ranks:
            raise RuntimeError(f"{ranks} ranks added up to {ones.item()}")
    finally:
        distributed.destroy_process_group()
    return {"backend": backend, "ranks": ranks, "met_s": round(time.monotonic() - begun, 2)}
