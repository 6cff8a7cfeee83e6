"""What all engines share: Adam, clipping, the learning rate, steps that are skipped, and state that fits any number of ranks.

Some releases of torch that this project supports (`torch>=2.11,<2.14`) call things by another name. Each difference is found by
looking for the newer name, never by a version number: a nightly or a site's own build has what it has.
"""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mlseg_dist.config import TrainConfig
from mlseg_dist.training.engine.world import World


def no_buffer_broadcast() -> dict[str, Any]:
    """Arguments of DistributedDataParallel that keep it from sending buffers before every forward.

    `broadcast_buffers` was renamed after torch 2.11. Under the old name DDP leaves buffers alone when it is built, too; under the
    new one it still sends rank 0's once. All ranks build the same network, so both come to the same bits.
    """
    known = inspect.signature(DistributedDataParallel).parameters
    return {"forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers": False}


def all_gather_flat(out: torch.Tensor, part: torch.Tensor) -> None:
    """Write every rank's `part`, (n,), by rank into `out`, (ranks x n,). All ranks call."""
    gather = (
        getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor
    )  # the old name warns where both exist
    gather(out, part)


class Engine(ABC):
    """For each micro-batch of this rank: forward, backward, step. The last step() of them updates the parameters.

    Gradients are the mean over all micro-batches of all ranks: the same for any number of ranks, to float32 rounding. A step whose
    loss or gradient is not finite on any rank is skipped on all: parameters and Adam's state keep every bit.
    """

    def __init__(self, model: nn.Module, train: TrainConfig, world: World) -> None:
        self.module = model
        self.accumulation = train.micro_batches_per_step // world.size
        """Micro-batches of this rank in an optimizer step."""
        self._stepped = 0
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        self.optimizer.register_step_pre_hook(self._before_adam)
        self._clip_norm, self._norm = train.clip_norm, torch.zeros((), device=world.device)
        self.finite = torch.ones((), dtype=torch.bool, device=world.device)
        """Scalar on the device: the last optimizer step was done, not skipped. The same on every rank."""

    @abstractmethod
    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 (B, 3, S, S) of both views -> logits per head."""

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a micro-batch's loss, divided by the number of micro-batches."""
        # A loss that is not finite makes its gradient so, whatever its derivative: the averaged gradient tells all ranks.
        self._backward(loss * torch.where(loss.detach().isfinite(), 1.0, torch.nan))

    @abstractmethod
    def _backward(self, loss: torch.Tensor) -> None: ...

    @property
    def at_last(self) -> bool:
        """The next step() is the one that updates the parameters."""
        return self._stepped + 1 == self.accumulation

    def step(self, lr: float) -> None:
        """Call once per micro-batch; at a step's last one Adam updates at rate `lr` from gradients averaged over ranks."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._step()
        self._stepped = (self._stepped + 1) % self.accumulation

    @abstractmethod
    def _step(self) -> None:
        """Called for every micro-batch."""

    def _before_adam(self, *_: Any) -> None:
        """Gradients are averaged by now. Norm and verdict stay on the device: nobody waits for them here."""
        parameters = [p for group in self.optimizer.param_groups for p in group["params"] if p.grad is not None]
        for parameter in parameters:
            parameter.grad = laid_out_as(parameter, parameter.grad)
        self._norm = self._norm_of([p.grad for p in parameters])
        self.finite = self._norm.isfinite()
        nn.utils.clip_grads_with_norm_(parameters, self._clip_norm, self._norm)
        # As torch's GradScaler does it: fused Adam looks at this scalar on the device and leaves everything as it is if it is 1.
        self.optimizer.found_inf = self.finite.logical_not().float()  # type: ignore[attr-defined]

    def _norm_of(self, gradients: Iterable[torch.Tensor]) -> torch.Tensor:
        """L2 norm of the whole averaged gradient, float32 scalar, the same on every rank."""
        return nn.utils.get_total_norm(gradients)

    @property
    def gradient_norm(self) -> float:
        """Norm of the last optimizer step's averaged gradient, before clipping; the same on every rank. Waits for the device."""
        return float(self._norm)

    def state(self) -> dict[str, dict[str, Any]]:
        """`model` and `optimizer` state dicts: plain tensors, loadable by any engine on any number of ranks. All ranks call."""
        return {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, dict[str, Any]]) -> None:
        """What state() gave. All ranks call."""
        self.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for name, moment in moments.items():
                moments[name] = laid_out_as(parameter, moment)


def laid_out_as(parameter: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """x in the parameter's memory layout: fused Adam walks through both side by side and mixes up elements otherwise."""
    if x.stride() == parameter.stride():
        return x
    strides = zip(x.shape, x.stride(), parameter.stride(), strict=False)
    if x.shape != parameter.shape or all(size == 1 or mine == other for size, mine, other in strides):
        return x
    return torch.empty_like(parameter).copy_(x)
