"""torch's DistributedDataParallel: averages gradients bucket by bucket while the last micro-batch's backward still runs."""

from contextlib import nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mlseg_dist.config import TrainConfig
from mlseg_dist.model import channels_last
from mlseg_dist.training.engine.base import Engine
from mlseg_dist.training.engine.world import World


class DdpEngine(Engine):
    """Buffers are not broadcast: RunningStatistics keeps BatchNorm's equal on all ranks."""

    def __init__(self, model: nn.Module, train: TrainConfig, world: World) -> None:
        channels_last(model)  # before: the buckets' views take the parameters' layout
        super().__init__(model, train, world)
        self._ddp = DistributedDataParallel(model, broadcast_buffers=False, gradient_as_bucket_view=True)
        self._done = 0
        self._unused: list[nn.Parameter] | None = None

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        last = self._done + 1 == self.accumulation
        with nullcontext() if last else self._ddp.no_sync():
            return self._ddp(high, low)

    def backward(self, loss: torch.Tensor) -> None:
        if self._unused is None:
            used = _leaves(loss)
            self._unused = [p for p in self.module.parameters() if p.requires_grad and id(p) not in used]
        # DDP waits for a gradient of every parameter. Those that only a head of weight 0 needs are given a zero, which costs no
        # pass through that head; DeepSpeed gives them the same.
        zeros = [torch.zeros_like(parameter) for parameter in self._unused]
        torch.autograd.backward([loss / self.accumulation, *self._unused], [None, *zeros])

    def _step(self) -> None:
        self._done += 1
        if self._done == self.accumulation:
            self._done = 0
            self.optimizer.step()
            self.optimizer.zero_grad()


def _leaves(loss: torch.Tensor) -> set[int]:
    """Ids of the parameters that a loss depends on."""
    seen, waiting, found = set(), [loss.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in seen:
            continue
        seen.add(node)
        if hasattr(node, "variable"):
            found.add(id(node.variable))
        waiting += [following for following, _ in node.next_functions]
    return found
