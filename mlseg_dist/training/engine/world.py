"""The ranks of a job."""

import os
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist

from mlseg_dist.config import TrainConfig
from mlseg_dist.inference import device_for, settle_cpu

_PATIENCE = timedelta(minutes=10)  # with a rank that does not answer


@dataclass(frozen=True)
class World:
    """Where this process stands among the ranks of the job."""

    rank: int
    size: int
    device: torch.device


def join_world(train: TrainConfig) -> World:
    """Read RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and start torch.distributed, as the engine wants it."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = device_for(local_rank)
    if device.type == "cpu":
        settle_cpu(train.threads)
    else:
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if train.engine == "ddp":
        dist.init_process_group(backend, timeout=_PATIENCE)
    else:
        _start_deepspeed(backend, device)
    return World(dist.get_rank(), dist.get_world_size(), device)


def _start_deepspeed(backend: str, device: torch.device) -> None:
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    # The shared-memory op for gloo on one node: compiled at first use, leaves a lock behind when killed meanwhile, and its
    # ranks spin while they wait. Plain gloo has none of that, and sums alike on one node and on many.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, timeout=_PATIENCE)
