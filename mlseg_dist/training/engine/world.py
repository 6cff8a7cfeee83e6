"""The ranks of a job."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from mlseg_dist.config import TrainConfig
from mlseg_dist.inference import device_for, settle_cpu

_PATIENCE = timedelta(minutes=10)  # with a rank that does not answer


@dataclass(frozen=True)
class World:
    """Where this process stands among the ranks of the job.

    control: the gloo group for what ranks tell each other on the CPU, beside the GPU's stream; None: the default group is gloo.
    """

    rank: int
    size: int
    device: torch.device
    control: dist.ProcessGroup | None = None

    def agree(self, flags: Sequence[bool]) -> list[bool]:
        """Each flag is true on every rank when it is true on any. All ranks call; nobody waits for a GPU."""
        if self.size == 1:
            return list(flags)
        told = torch.tensor([int(flag) for flag in flags])
        dist.all_reduce(told, dist.ReduceOp.MAX, group=self.control)
        return [bool(flag) for flag in told.tolist()]

    def from_first(self, value: Any) -> Any:
        """What rank 0 says. All ranks call."""
        told = [value]
        if self.size > 1:
            dist.broadcast_object_list(told, 0, group=self.control)
        return told[0]

    def from_all(self, value: Any) -> list[Any]:
        """What each rank says, by rank. All ranks call."""
        told = [value] * self.size
        if self.size > 1:
            dist.all_gather_object(told, value, group=self.control)
        return told

    def wait_for_all(self) -> None:
        """Until all ranks have called."""
        if self.size > 1:
            dist.barrier(group=self.control)


def join_world(train: TrainConfig) -> World:
    """Read RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and start torch.distributed, as the engine wants it."""
    if train.deterministic:
        _repeat_exactly()
    device = device_for()
    if device.type == "cpu":
        settle_cpu(train.threads)
    else:
        torch.cuda.set_device(device)
    backend = "nccl" if device.type == "cuda" else "gloo"
    if train.engine == "ddp":
        dist.init_process_group(backend, timeout=_PATIENCE)
    else:
        _start_deepspeed(backend, device)
    control = dist.new_group(backend="gloo", timeout=_PATIENCE) if backend == "nccl" else None
    return World(dist.get_rank(), dist.get_world_size(), device, control)


def _repeat_exactly() -> None:
    """Before CUDA starts: cuBLAS reads its workspace from the environment then. An op that cannot repeat raises RuntimeError."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.benchmark = False


def _start_deepspeed(backend: str, device: torch.device) -> None:
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    # The shared-memory op for gloo on one node: compiled at first use, leaves a lock behind when killed meanwhile, and its
    # ranks spin while they wait. Plain gloo has none of that, and sums alike on one node and on many.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, timeout=_PATIENCE)
