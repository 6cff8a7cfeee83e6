"""Figures of the last few steps, over all ranks: loss and its parts, accuracy and mIoU on what was trained, rates."""

import time
from typing import Any

import torch
import torch.distributed as dist

from mlseg_dist.config import CLASSES
from mlseg_dist.loss import centre
from mlseg_dist.model import output_head, view_of
from mlseg_dist.training.engine import World
from mlseg_dist.training.validate import count, figures

STEPS = 10


class Window:
    """add() for each micro-batch; close() reduces over ranks (all must call it) and starts anew."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._step_of_last = 0
        self._reset()

    def _reset(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._parts: list[dict[str, torch.Tensor]] = []
        self._confusion = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.int64, device=self.world.device)
        self._waited, self._samples, self._begun = 0.0, 0, time.perf_counter()

    def restart_clock(self) -> None:
        """Forget time spent on something else (validation, a checkpoint)."""
        self._begun = time.perf_counter()

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
        self._losses.append(loss.detach())
        self._parts.append({"wce": parts[f"{head}_wce"], "wdl": parts[f"{head}_wdl"]})
        self._confusion += count(logits[head].argmax(1), target)
        self._waited += waited_s
        self._samples += len(target)

    @property
    def full(self) -> bool:
        """After STEPS optimizer steps' worth of this rank's micro-batches (the same on every rank)."""
        return len(self._losses) >= STEPS

    def close(self, step: int, epoch: float, lr: float) -> dict[str, Any]:
        """One record for metrics.jsonl. step: optimizer steps done."""
        elapsed = time.perf_counter() - self._begun
        sums = torch.stack([torch.stack(self._losses).sum(), *(self._sum(name) for name in ("wce", "wdl"))]).double()
        sums = torch.cat([sums, torch.tensor([len(self._losses), self._samples, self._waited], device=sums.device)])
        if self.world.size > 1:
            dist.all_reduce(sums)
            dist.all_reduce(self._confusion)
        loss, wce, wdl, micro_batches, samples, waited = sums.tolist()
        steps = max(1, step - self._step_of_last)
        record = {
            "step": step,
            "epoch": round(epoch, 4),
            "loss": loss / micro_batches,
            "wce": wce / micro_batches,
            "wdl": wdl / micro_batches,
            "lr": lr,
            **figures(self._confusion.cpu().numpy()),
            "pairs_s": samples / elapsed,
            "data_wait": waited / self.world.size / elapsed,
            "step_ms": 1000 * elapsed / steps,
        }
        self._step_of_last = step
        self._reset()
        return record

    def _sum(self, name: str) -> torch.Tensor:
        return torch.stack([part[name] for part in self._parts]).sum()
