"""torch's DistributedDataParallel: averages gradients bucket by bucket while the last micro-batch's backward still runs."""

from contextlib import nullcontext

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mlseg_dist.config import TrainConfig
from mlseg_dist.model import channels_last
from mlseg_dist.training.engine.base import Engine, no_buffer_broadcast
from mlseg_dist.training.engine.world import World


class DdpEngine(Engine):
    """Buffers are not broadcast: RunningStatistics keeps BatchNorm's equal on all ranks."""

    def __init__(self, model: nn.Module, train: TrainConfig, world: World) -> None:
        channels_last(model)  # before: the buckets' views take the parameters' layout
        super().__init__(model, train, world)
        self._ddp = DistributedDataParallel(_Wrapped(model), gradient_as_bucket_view=True, **no_buffer_broadcast())
        self._settle_buckets()
        self._unused: list[nn.Parameter] | None = None

    def _settle_buckets(self) -> None:
        """After its first backward DDP fills its buckets anew, in the order in which gradients came. All-reduce adds up in an
        order that follows the place in a bucket: the first step of a resumed run would differ in the last bits. Have it done."""
        self._ddp()
        for parameter in reversed(list(self.module.parameters())):
            torch.autograd.backward(parameter, torch.zeros_like(parameter))
        self.optimizer.zero_grad()

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        with nullcontext() if self.at_last else self._ddp.no_sync():
            return self._ddp(high, low)

    def _backward(self, loss: torch.Tensor) -> None:
        if self._unused is None:
            used = _leaves(loss)
            self._unused = [p for p in self.module.parameters() if p.requires_grad and id(p) not in used]
        # DDP waits for a gradient of every parameter. Those that only a head of weight 0 needs are given a zero, which costs no
        # pass through that head; DeepSpeed gives them the same.
        zeros = [torch.zeros_like(parameter) for parameter in self._unused]
        torch.autograd.backward([loss / self.accumulation, *self._unused], [None, *zeros])

    def _step(self) -> None:
        if self.at_last:
            self.optimizer.step()
            self.optimizer.zero_grad()


class _Wrapped(nn.Module):
    """The network as DDP calls it; without views it does nothing."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, *views: torch.Tensor) -> dict[str, torch.Tensor]:
        return self.network(*views) if views else {}


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
