"""DeepSpeed at ZeRO stage 1 or 2: a rank keeps Adam's state, and at stage 2 the averaged gradient, of its part of the parameters.

The parameters lie in one flat tensor, padded and cut into as many parts as there are ranks. They keep their plain layout: the
flat gradients have it too.
"""

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from mlseg_dist.config import TrainConfig
from mlseg_dist.training.engine.base import all_gather_flat
from mlseg_dist.training.engine.deepspeed import DeepSpeedEngine
from mlseg_dist.training.engine.world import World


class ZeroEngine(DeepSpeedEngine):
    """Norm, clipping and skipping are ours, as in the other engines; DeepSpeed reduces, shares out and gathers."""

    def __init__(self, model: nn.Module, train: TrainConfig, world: World) -> None:
        self._stage, self._world = train.zero, world
        self._elements = sum(p.numel() for p in model.parameters())
        super().__init__(model, train, world)
        self._sharded = self._engine.optimizer
        # Where DeepSpeed has put each parameter in its flat tensor.
        flat: torch.Tensor = self._sharded.bit16_groups_flat[0]
        self._places = [(p.data_ptr() - flat.data_ptr()) // flat.element_size() for p in model.parameters()]

    def _zero(self) -> dict[str, Any]:
        # One bucket: DeepSpeed keeps a buffer of its size. Its norm would wait for the device, and tell -1 for NaN.
        return {"stage": self._stage, "reduce_bucket_size": self._elements, "compute_grad_norm": False}

    def _lay_out(self) -> None:
        pass

    @property
    def _part(self) -> torch.Tensor:
        """This rank's part of the flat parameters, float32; the one tensor that its Adam knows."""
        part: torch.Tensor = self._sharded.single_partition_of_fp32_groups[0]
        return part

    def _norm_of(self, gradients: Iterable[torch.Tensor]) -> torch.Tensor:
        # Squares in float64, else a norm above 1e19 would be infinite here and finite in the other engines.
        square = super()._norm_of(gradients).double().square()
        if self._world.size > 1:
            dist.all_reduce(square)
        return square.sqrt().float()

    def gather(self, part: torch.Tensor) -> list[torch.Tensor]:
        """Every rank's part, float32 (elements / ranks,) -> for each parameter, in order, its values. All ranks call."""
        flat = torch.empty(self._world.size * part.numel(), dtype=part.dtype, device=part.device)
        all_gather_flat(flat, part.detach().contiguous())
        places = zip(self.module.parameters(), self._places, strict=True)
        return [flat[at : at + p.numel()].view(p.shape) for p, at in places]

    def state(self) -> dict[str, dict[str, Any]]:
        """As of the other engines: moments by the parameter's number."""
        model, optimizer = self.module.state_dict(), self.optimizer.state_dict()
        mine = self.optimizer.state.get(self._part, {})
        names = [name for name in mine if name != "step"]
        moments = {name: self.gather(mine[name]) for name in names}
        numbers = range(len(self._places))
        state = {
            n: {"step": mine["step"].clone(), **{name: moments[name][n] for name in names}} for n in numbers if mine
        }
        groups = [{**optimizer["param_groups"][0], "params": list(numbers)}]
        return {"model": model, "optimizer": {"state": state, "param_groups": groups}}

    def load(self, state: dict[str, dict[str, Any]]) -> None:
        self.module.load_state_dict(state["model"])
        self._sharded.refresh_fp32_params()
        saved: dict[int, dict[str, torch.Tensor]] = state["optimizer"]["state"]
        if not saved:
            self.optimizer.state.clear()
            return
        part = self._part
        moments: dict[str, torch.Tensor] = {"step": next(iter(saved.values()))["step"].to(part.device, copy=True)}
        first = self._world.rank * part.numel()
        for name in ("exp_avg", "exp_avg_sq"):
            flat = torch.zeros(self._world.size * part.numel())
            for number, (parameter, at) in enumerate(zip(self.module.parameters(), self._places, strict=True)):
                if number in saved:
                    flat[at : at + parameter.numel()].view(parameter.shape).copy_(saved[number][name])
            moments[name] = flat[first : first + part.numel()].to(part.device, copy=True)
        self.optimizer.state[part] = moments
