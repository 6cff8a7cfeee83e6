"""BatchNorm over micro-batches: each normalises with its own statistics; running statistics advance once an optimizer
step, from the mean over all micro-batches of all ranks. So nothing depends on the number of ranks."""

import torch
import torch.distributed as dist
from torch import nn


class RunningStatistics:
    """Call keep() after each micro-batch's forward, advance() once at the end of the step.

    The model's own momentum is set to 1: a forward leaves the statistics of its micro-batch alone in the buffers, and advance()
    takes them in at the momentum that was there before.
    """

    def __init__(self, model: nn.Module) -> None:
        norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
        momenta = [m.momentum for m in norms if m.momentum is not None]
        if len(momenta) < len(norms) or len(set(momenta)) > 1:
            raise ValueError(f"all BatchNorms must have one momentum, not {[m.momentum for m in norms]}")
        self._momentum = momenta[0] if momenta else 0.0
        for norm in norms:
            norm.momentum = 1.0
        self._buffers = [b for m in norms for b in (m.running_mean, m.running_var) if b is not None]
        self._counters = [m.num_batches_tracked for m in norms if m.num_batches_tracked is not None]
        self._before = self._sum = torch.zeros(0)
        self._steps, self._count = torch.zeros((), dtype=torch.int64), 0
        self.reload()

    def keep(self) -> None:
        """The statistics of the micro-batch that has just gone forward."""
        self._sum = self._sum + torch.cat([b.flatten() for b in self._buffers])
        self._count += 1

    def advance(self, finite: torch.Tensor | None = None) -> None:
        """Mean over micro-batches and ranks, on every rank. finite: `Engine.finite` of this step, a scalar on the device; where it
        is false, or a statistic is not finite, the step is as if it had not been. Does not wait for the device."""
        if dist.is_initialized() and dist.get_world_size() > 1:
            dist.all_reduce(self._sum)
            self._count *= dist.get_world_size()
        mean = self._sum / self._count
        sound = mean.isfinite().all() if finite is None else mean.isfinite().all() & finite
        self._before = torch.where(sound, self._before.lerp(mean, self._momentum), self._before)
        self._steps = self._steps + sound
        self._sum, self._count = torch.zeros_like(self._before), 0
        self._write()

    def reload(self) -> None:
        """Take what a checkpoint has put into the buffers, and forget micro-batches kept since the last step."""
        self._before = torch.cat([b.flatten() for b in self._buffers])
        self._steps = self._counters[0].clone() if self._counters else self._steps
        self._sum, self._count = torch.zeros_like(self._before), 0

    @torch.no_grad()
    def _write(self) -> None:
        parts = self._before.split([b.numel() for b in self._buffers])
        torch._foreach_copy_(self._buffers, [p.view_as(b) for p, b in zip(parts, self._buffers, strict=True)])
        if self._counters:
            torch._foreach_copy_(self._counters, [self._steps] * len(self._counters))
