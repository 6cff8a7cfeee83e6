"""What all engines share: Adam, clipping, the learning rate, and state that fits any number of ranks."""

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from mlseg_dist.config import TrainConfig
from mlseg_dist.training.engine.world import World


class Engine(ABC):
    """For each micro-batch of this rank: forward, backward, step. The last step() of them updates the parameters.

    Gradients are the mean over all micro-batches of all ranks: the same for any number of ranks, to float32 rounding.
    """

    def __init__(self, model: nn.Module, train: TrainConfig, world: World) -> None:
        self.module = model
        self.accumulation = train.micro_batches_per_step // world.size
        """Micro-batches of this rank in an optimizer step."""
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        self.optimizer.register_step_pre_hook(self._before_adam)
        self._clip_norm, self._norm = train.clip_norm, torch.zeros(())

    @abstractmethod
    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 (B, 3, S, S) of both views -> logits per head."""

    @abstractmethod
    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradient of a micro-batch's loss, divided by the number of micro-batches."""

    def step(self, lr: float) -> None:
        """Call once per micro-batch; at a step's last one Adam updates at rate `lr` from gradients averaged over ranks."""
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self._step()

    @abstractmethod
    def _step(self) -> None: ...

    def _before_adam(self, *_: Any) -> None:
        """Gradients are averaged by now. The norm stays on the device: nobody waits for it here."""
        for parameter in self.module.parameters():
            if parameter.grad is not None:
                parameter.grad = laid_out_as(parameter, parameter.grad)
        self._norm = nn.utils.clip_grad_norm_(self.module.parameters(), self._clip_norm)

    @property
    def gradient_norm(self) -> float:
        """Of the last optimizer step's averaged gradient, before clipping; the same on every rank. Waits for the device."""
        return float(self._norm)

    def state(self) -> dict[str, dict[str, Any]]:
        """`model` and `optimizer` state dicts: plain tensors, loadable by any engine on any number of ranks."""
        return {"model": self.module.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load(self, state: dict[str, dict[str, Any]]) -> None:
        """What state() gave."""
        self.module.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        for parameter, moments in self.optimizer.state.items():
            for name, moment in moments.items():
                moments[name] = laid_out_as(parameter, moment)


def laid_out_as(parameter: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """x in the parameter's memory layout: fused Adam walks through both side by side and mixes up elements otherwise."""
    strides = zip(x.shape, x.stride(), parameter.stride(), strict=False)
    if x.shape != parameter.shape or all(size == 1 or mine == other for size, mine, other in strides):
        return x
    return torch.empty_like(parameter).copy_(x)
