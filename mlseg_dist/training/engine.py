"""The engine: DeepSpeed stage 0 with fp32 parameters, bf16 autocast and torch's Adam, behind four verbs."""

import os
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from mlseg_dist.config import TrainConfig
from mlseg_dist.inference import device_for, settle_cpu
from mlseg_dist.model import channels_last


@dataclass(frozen=True)
class World:
    """Where this process stands among the ranks of the job."""

    rank: int
    size: int
    device: torch.device


def join_world(train: TrainConfig) -> World:
    """Read RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT and start torch.distributed through DeepSpeed."""
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    device = device_for(local_rank)
    if device.type == "cpu":
        os.environ["DS_ACCELERATOR"] = "cpu"
        settle_cpu(train.threads)
    else:
        torch.cuda.set_device(device)
    import deepspeed

    # The shared-memory op for gloo on one node: compiled at first use, leaves a lock behind when killed meanwhile, and its
    # ranks spin while they wait. Plain gloo has none of that, and sums alike on one node and on many.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if device.type == "cuda" else "gloo"
    deepspeed.init_distributed(dist_backend=backend, auto_mpi_discovery=False, timeout=timedelta(minutes=10))
    return World(dist.get_rank(), dist.get_world_size(), device)


class Engine:
    """forward, backward, step (once all micro-batches of this rank are in), state."""

    def __init__(self, model: nn.Module, train: TrainConfig, world: World) -> None:
        import deepspeed

        config = {
            "train_micro_batch_size_per_gpu": train.quads_per_micro_batch * 4,
            "gradient_accumulation_steps": train.micro_batches_per_step // world.size,
            "zero_optimization": {"stage": 0},
            "torch_autocast": {"enabled": train.precision == "bf16", "dtype": "bfloat16"},
            "steps_per_print": 10**9,
        }
        self.module = model
        self._optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        # DeepSpeed's own clipping at stage 0 does not tell the norm; the hook runs on reduced gradients.
        self._optimizer.register_step_pre_hook(self._clip)
        self._clip_norm, self._norm = train.clip_norm, torch.zeros(())
        self._engine, *_ = deepspeed.initialize(model=model, optimizer=self._optimizer, config=config)
        channels_last(model)  # after: DeepSpeed's broadcast over gloo wants plain layouts

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        return self._engine(high, low)

    def backward(self, loss: torch.Tensor) -> None:
        """Adds the micro-batch's gradient; DeepSpeed divides by the number of micro-batches."""
        self._engine.backward(loss)

    def _clip(self, *_: Any) -> None:
        self._norm = nn.utils.clip_grad_norm_(self.module.parameters(), self._clip_norm)

    def step(self, lr: float) -> None:
        """Call once per micro-batch; at a step's last one DeepSpeed averages over ranks, then Adam updates at rate `lr`."""
        for group in self._optimizer.param_groups:
            group["lr"] = lr
        self._engine.step()

    @property
    def gradient_norm(self) -> float:
        """Of the last optimizer step's averaged gradient, before clipping; the same on every rank."""
        return float(self._norm)

    def state(self) -> dict[str, dict[str, Any]]:
        """`model` and `optimizer` state dicts: plain tensors, loadable on any number of ranks."""
        return {"model": self.module.state_dict(), "optimizer": self._optimizer.state_dict()}

    def load(self, state: dict[str, dict[str, Any]]) -> None:
        self.module.load_state_dict(state["model"])
        self._optimizer.load_state_dict(state["optimizer"])
