"""Figures of the steps since the last line, over all ranks: loss and its parts, accuracy and mIoU on what was trained, rates."""

import math
import time
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from mlseg_dist.config import CLASSES
from mlseg_dist.loss import centre
from mlseg_dist.model import output_head, view_of
from mlseg_dist.training.engine import World
from mlseg_dist.training.validate import count, figures

_LOSSES = ("loss", "wce", "wdl")


class Window:
    """add() for each micro-batch; close() gathers from all ranks (all must call it) and starts anew.

    pair_flops: floating-point operations that training on one pair takes. peak_flops: of a rank's device, each second; None:
    not known.
    """

    def __init__(self, world: World, pair_flops: float, peak_flops: float | None) -> None:
        self.world, self._pair_flops, self._peak_flops = world, pair_flops, peak_flops
        self.restart(0)

    def restart(self, step: int) -> None:
        """Forget what was added. step: optimizer steps done."""
        self._step = step
        self._losses: list[torch.Tensor] = []
        self._confusion = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64, device=self.world.device)
        self._waited, self._samples, self._begun = 0.0, 0, time.perf_counter()

    def leave_out(self, seconds: float) -> None:
        """Time spent on something else than training (validation)."""
        self._begun += seconds

    @torch.no_grad()
    def add(
        self,
        loss: torch.Tensor,
        parts: dict[str, torch.Tensor],
        logits: dict[str, torch.Tensor],
        targets: dict[str, torch.Tensor],
        waited_s: float,
    ) -> None:
        head = output_head(logits)
        target = centre(targets[view_of(head)], logits[head])
        self._losses.append(torch.stack([loss.detach(), parts[f"{head}_wce"], parts[f"{head}_wdl"]]))
        self._confusion += count(logits[head].argmax(1), target)
        self._waited += waited_s
        self._samples += len(target)

    def close(self, step: int, lr: float, busy_s: float) -> tuple[dict[str, Any], list[float]]:
        """A record for metrics.jsonl, and every rank's busy seconds. step: optimizer steps done. busy_s: this rank's.

        Losses are means over the micro-batches whose loss is finite; None when there is none.
        """
        elapsed = time.perf_counter() - self._begun
        losses = torch.stack(self._losses).double()
        finite = losses.isfinite().all(dim=1)
        sums = torch.where(finite[:, None], losses, 0.0).sum(dim=0)
        own = torch.tensor([self._samples, self._waited, busy_s], dtype=torch.float64, device=sums.device)
        mine = torch.cat([sums, finite.sum()[None], own, self._confusion.flatten()])
        told = [torch.empty_like(mine) for _ in range(self.world.size)]
        if self.world.size > 1:
            dist.all_gather(told, mine)
        else:
            told = [mine]
        ranks = torch.stack(told).cpu().numpy()
        total = ranks.sum(axis=0)
        micro_batches, samples, waited, confusion = total[3], total[4], total[5], total[7:]
        pairs_s = samples / elapsed
        record = {
            "step": step,
            **{name: _mean(value, micro_batches) for name, value in zip(_LOSSES, total, strict=False)},
            "lr": lr,
            **figures(confusion.reshape(len(CLASSES), -1).astype(np.int64)),
            "pairs_s": pairs_s,
            "data_wait": waited / self.world.size / elapsed,
            "step_ms": 1000 * elapsed / max(1, step - self._step),
            **self._speed(pairs_s),
        }
        self.restart(step)
        return record, ranks[:, 6].tolist()

    def _speed(self, pairs_s: float) -> dict[str, float]:
        flops = pairs_s * self._pair_flops / self.world.size
        found = {"tflops": flops / 1e12}
        if self._peak_flops:
            found["mfu"] = flops / self._peak_flops
        if self.world.device.type == "cuda":
            found["memory_gb"] = torch.cuda.max_memory_allocated(self.world.device) / 1e9
        return found


def _mean(total: float, number: float) -> float | None:
    return float(total / number) if number and math.isfinite(total) else None
