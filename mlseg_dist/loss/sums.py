"""All that the loss of a head needs to know of its pixels: twelve sums, with their gradient worked out by hand.

The loss is a small formula of these sums (see segmentation.py), so a loss group of any extent is a sum of them: over
samples here, over ranks in sum_over_ranks.
"""

from typing import Any

import torch
import torch.distributed as dist

from mlseg_dist.config import CLASSES

COUNT, PIXEL, OVERLAP, PREDICTED = range(4)
"""Rows of the sums: n_c, Σ pixel loss and Σ p_c over the pixels of class c; Σ p_c over all labelled pixels."""
_CACHED = 2**20  # elements of a map that a CPU keeps in its cache from one operation to the next


def class_sums(logits_BCHW: torch.Tensor, target_BHW: torch.Tensor, q: float, smoothing: float) -> torch.Tensor:
    """Sums over the labelled pixels of a micro-batch: (4, 3), rows COUNT, PIXEL, OVERLAP, PREDICTED, columns classes.

    target: uint8, 0-2; anything else is ignored. The pixel loss is Σ_k t_k l_k with l = -log p, or (1 - p^q) / q for q > 0
    (generalised cross entropy, Zhang 2018), and t the label with `smoothing` of it spread evenly over the classes.
    float64 logits are summed in float64, all others in float32, under autocast too.
    """
    return _ClassSums.apply(logits_BCHW, target_BHW, q, smoothing)


class _ClassSums(torch.autograd.Function):
    """Keeps nothing for backward but its inputs."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor, target: torch.Tensor, q: float, smoothing: float) -> torch.Tensor:
        ctx.save_for_backward(logits, target)
        ctx.q, ctx.smoothing = q, smoothing
        sums = torch.zeros((), dtype=_wide(logits).dtype, device=logits.device)
        for part in _parts(logits):
            wide = _wide(logits[part])
            y, ignored = _truth(target[part], wide.dtype)
            log_p = wide.log_softmax(1).masked_fill_(ignored, 0)
            p = log_p.exp().masked_fill_(ignored, 0)
            gain = (p**q - 1) / q if q else log_p
            if smoothing:
                gain = (1 - smoothing) * gain + smoothing / len(CLASSES) * gain.sum(1, keepdim=True)
            sums = sums + torch.stack([x.sum((0, 2, 3)) for x in (y, -gain * y, p * y, p)])
        return sums

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        """dL/dlogit_k = p_k (s_k + Σ_j w_j - Σ_j p_j s_j) - w_k at a pixel labelled y, with w_k = a_y t_k p_k^q and
        s_k = c_k + b_k [k = y]; a, b, c are dL/dPIXEL, dL/dOVERLAP, dL/dPREDICTED. Unlabelled: p and w are exactly 0."""
        (logits, target), (_, a, b, c) = ctx.saved_tensors, grads[0][..., None, None]
        result = torch.empty_like(logits)
        for part in _parts(logits):
            wide = _wide(logits[part])
            y, ignored = _truth(target[part], wide.dtype)
            p = wide.softmax(1).masked_fill_(ignored, 0)
            w = y * a
            if ctx.smoothing:
                w = (1 - ctx.smoothing) * w + ctx.smoothing / len(CLASSES) * w.sum(1, keepdim=True)
            if ctx.q:
                w = w * p**ctx.q
            s = torch.addcmul(c, y, b)
            shift = w.sum(1, keepdim=True) - (p * s).sum(1, keepdim=True)
            result[part] = (s + shift) * p - w
        return result, None, None, None


def _wide(x: torch.Tensor) -> torch.Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _parts(logits_BCHW: torch.Tensor) -> list[slice]:
    """Samples to work on at a time: all of them, but on a CPU as many as its cache holds."""
    samples = len(logits_BCHW)
    size = max(1, _CACHED * samples // logits_BCHW.numel()) if logits_BCHW.device.type == "cpu" else samples
    return [slice(first, first + size) for first in range(0, samples, size)]


def _truth(target_BHW: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """1 where a pixel is of the class, else 0 (B, 3, H, W); and whether it is ignored, bool (B, 1, H, W)."""
    target = target_BHW[:, None]
    classes = torch.arange(len(CLASSES), dtype=torch.uint8, device=target.device)
    return (target == classes[:, None, None]).to(dtype), target >= len(CLASSES)


def sum_over_ranks(x: torch.Tensor) -> torch.Tensor:
    """The sum on every rank. Backward sums the ranks' gradients; an engine that then averages them is exact:
    each rank minimises the same loss of the sum, so the ranks' gradients add up to `world` times its gradient."""
    return _SumOverRanks.apply(x)


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return _total(x)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        return _total(grads[0])


def _total(x: torch.Tensor) -> torch.Tensor:
    """A copy of what was reduced in place: the compiler of torch 2.11 loses the gradient of the tensor itself, without a word."""
    total = x.clone()
    dist.all_reduce(total)
    return total.clone()
