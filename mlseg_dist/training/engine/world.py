"""The ranks of a job."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from mlseg_core.errors import UserError
from mlseg_core.node import node_name
from mlseg_dist.config import TrainConfig
from mlseg_dist.device import check_own_gpus, device_for, settle_cpu, settle_gpu

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
    """Read RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and start torch.distributed, as the engine wants it.

    Raises UserError where two ranks would share a GPU.
    """
    if train.deterministic:
        _repeat_exactly()
    device = device_for()
    if device.type == "cpu":
        settle_cpu(train.threads)
    settle_gpu(device, train.deterministic)
    backend = "nccl" if device.type == "cuda" else "gloo"
    try:
        if train.engine == "ddp":
            dist.init_process_group(backend, timeout=_PATIENCE)
        else:
            _start_deepspeed(backend, device)
    except dist.DistBackendError as error:
        if "Duplicate GPU" in str(error):  # DeepSpeed has NCCL connect at once, before the ranks can be asked
            raise UserError("NCCL found two ranks on one GPU", "cluster.train", "Give each rank its own.") from error
        raise
    control = dist.new_group(backend="gloo", timeout=_PATIENCE) if backend == "nccl" else None
    world = World(dist.get_rank(), dist.get_world_size(), device, control)
    if device.type == "cuda":
        check_own_gpus(world.from_all((node_name(), str(torch.cuda.get_device_properties(device).uuid))))
    return world


def _repeat_exactly() -> None:
    """Before CUDA starts: cuBLAS reads its workspace from the environment then. An op that cannot repeat raises RuntimeError."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def _start_deepspeed(backend: str, device: torch.device) -> None:
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
    import deepspeed

    # The shared-memory op for gloo on one node: compiled at first use, leaves a lock behind when killed meanwhile, and its
    # ranks spin while they wait. Plain gloo has none of that, and sums alike on one node and on many.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    with deepspeed_takes(device):
        deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, timeout=_PATIENCE)


@contextmanager
def deepspeed_takes(device: torch.device) -> Iterator[None]:
    """Around whatever of DeepSpeed chooses a GPU: it takes LOCAL_RANK for the GPU's number, which under `--gpus-per-task=1` only
    the first rank's is."""
    local_rank = os.environ.get("LOCAL_RANK")
    if device.index is not None:
        os.environ["LOCAL_RANK"] = str(device.index)
    try:
        yield
    finally:
        if local_rank is None:
            os.environ.pop("LOCAL_RANK", None)
        else:
            os.environ["LOCAL_RANK"] = local_rank
