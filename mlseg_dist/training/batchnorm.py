"""BatchNorm over micro-batches: each normalises with its own statistics; running statistics advance once an optimizer
step, from the mean over all micro-batches of all ranks (SPEC §3). So nothing depends on the number of ranks."""

import torch
import torch.distributed as dist
from torch import nn


class RunningStatistics:
    """Call begin() before each micro-batch's forward, keep() after it, advance() once at the end of the step."""

    def __init__(self, model: nn.Module) -> None:
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        self._buffers = [b for m in norms for b in (m.running_mean, m.running_var) if b is not None]
        self._counters = [m.num_batches_tracked for m in norms if m.num_batches_tracked is not None]
        self._steps = self._steps_done()
        self._before = torch.cat([b.flatten() for b in self._buffers])
        self._sum = torch.zeros_like(self._before)
        self._count = 0

    def begin(self) -> None:
        """Every micro-batch starts from the statistics of the step before."""
        self._write(self._before)

    def keep(self) -> None:
        self._sum += torch.cat([b.flatten() for b in self._buffers])
        self._count += 1

    def advance(self) -> None:
        """Mean over micro-batches and ranks, on every rank."""
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(self._sum)
            self._count *= dist.get_world_size()
        self._before = self._sum / self._count
        self._sum = torch.zeros_like(self._before)
        self._count = 0
        self._steps += 1
        self._write(self._before)

    def reload(self) -> None:
        """Take what a checkpoint has put into the buffers."""
        self._before = torch.cat([b.flatten() for b in self._buffers])
        self._steps = self._steps_done()

    def _steps_done(self) -> int:
        return int(self._counters[0]) if self._counters else 0

    @torch.no_grad()
    def _write(self, flat: torch.Tensor) -> None:
        parts = flat.split([b.numel() for b in self._buffers])
        torch._foreach_copy_(self._buffers, [p.view_as(b) for p, b in zip(parts, self._buffers, strict=True)])
        for counter in self._counters:
            counter.fill_(self._steps)
