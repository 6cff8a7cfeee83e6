"""Figures of the steps since the last line, over all ranks: loss and its parts, accuracy and mIoU on what was trained, rates.

Rates are in pairs and in floating-point operations a second; MFU is the quotient of these and of what a device could do at most.
"""

import math
import time
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from mlseg_dist.config import CLASSES, ModelConfig
from mlseg_dist.loss import centre
from mlseg_dist.model import build_model, output_head, view_of
from mlseg_dist.model.summary import summarise
from mlseg_dist.training.engine import World
from mlseg_dist.training.validate import count, figures

# Name as the driver gives it, more special before less: 10^12 FLOP/s of tensor cores without sparsity, bf16 and TF32.
_TENSOR_CORES: tuple[tuple[str, float | None, float], ...] = (
    ("B200", 2250.0, 1125.0),
    ("GH200", 989.4, 494.7),
    ("H200 NVL", 835.5, 417.5),
    ("H200", 989.4, 494.7),
    ("H800 PCIe", 756.0, 378.0),
    ("H800", 989.4, 494.7),
    ("H100 NVL", 835.5, 417.5),
    ("H100 PCIe", 756.0, 378.0),
    ("H100", 989.4, 494.7),
    ("A100", 312.0, 156.0),
    ("A800", 312.0, 156.0),
    ("A40", 149.7, 74.8),
    ("A30", 165.0, 82.0),
    ("A10G", 70.0, 35.0),
    ("A10", 125.0, 62.5),
    ("L40S", 362.05, 183.0),
    ("L40", 181.05, 90.5),
    ("L4", 121.0, 60.0),
    ("RTX 6000 Ada", 364.2, 182.1),
    ("RTX A6000", 154.8, 77.4),
    ("RTX 3090", 71.0, 35.6),
    ("RTX 4090", 165.2, 82.6),
    ("V100-PCIE", None, 14.0),
    ("V100", None, 15.7),
)


def peak_flops(device: torch.device, precision: str, override_tflops: float | None = None) -> float | None:
    """FLOP/s that the device could do at most at `precision` (`bf16`, `fp32`); None: not known, as for a CPU.

    Published dense figures (no sparsity): NVIDIA's datasheets of the cards, and the appendices of its GA102 and Ada whitepapers for
    GeForce. fp32 counts as TF32, in which torch lets cuDNN convolve unless told otherwise; V100 has neither TF32 nor bf16.
    override_tflops: 10^12 FLOP/s, `train.peak_tflops`.
    """
    if override_tflops is not None:
        return override_tflops * 1e12
    return known_peak(torch.cuda.get_device_name(device), precision) if device.type == "cuda" else None


def known_peak(name: str, precision: str) -> float | None:
    """As peak_flops, of a GPU by the name that its driver gives it."""
    words = name.replace("-", " ").split()
    if "MIG" in words or "Laptop" in words:  # a part of the card, a slower one of the same name
        return None
    for card, bf16, tf32 in _TENSOR_CORES:
        wanted = card.replace("-", " ").split()
        # Whole words: A10 is not A100, L4 is not L40.
        if all(word in words for word in wanted):
            figure = bf16 if precision == "bf16" else tf32
            return figure * 1e12 if figure is not None else None
    return None


def training_flops(config: ModelConfig, ratio: int, side: int) -> float:
    """Operations for training on one pair of views, side x side px: two per multiply-add of a convolution, forward, and
    twice as much backward.
    """
    summary = summarise(lambda: build_model(config, ratio), side, bf16=False, device=None)
    return 3 * 2e9 * float(summary.total("gmac"))


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
        """Time not spent training (validation)."""
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
