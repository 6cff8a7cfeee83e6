"""Weighted cross entropy + weighted Dice over a loss group, summed over heads (equations 1, 3-7; SPEC §3).

The loss group is one micro-batch. Everything is float32. Ignored pixels (255) have no weight and no gradient.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F

from mlseg_dist.config import CLASSES, IGNORED, LossConfig
from mlseg_dist.model import view_of

_EPSILON = 1.0  # ε of the Dice loss, pixels


def dynamic_weights(target_BHW: torch.Tensor, floor: float) -> torch.Tensor:
    """W_c = 1 - n_c / Σn over labelled pixels (eq. 1), floored, normalised to mean 1. float32 (3,), no gradient."""
    counts = torch.bincount(target_BHW[target_BHW != IGNORED].long().flatten(), minlength=len(CLASSES)).float()
    weights = (1 - counts / counts.sum().clamp_min(1)).clamp_min(floor)
    return weights / weights.mean()


def head_loss(
    logits_BCHW: torch.Tensor, target_BHW: torch.Tensor, weights_C: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(WCE, WDL) of one head over the loss group. Nothing labelled: zeros with a live graph.

    WCE = -Σ W_y log p_y / labelled pixels. WDL = Σ W_c (1 - (2 Σyp + ε) / (Σy + Σp + ε)) / Σ W_c over classes present.
    """
    logits = logits_BCHW.float()
    labelled = target_BHW != IGNORED
    if not bool(labelled.any()):
        zero = logits.sum() * 0.0
        return zero, zero
    target = torch.where(labelled, target_BHW, torch.zeros_like(target_BHW)).long()
    log_p = F.log_softmax(logits, dim=1)
    picked = log_p.gather(1, target[:, None])[:, 0]
    wce = -(weights_C[target] * picked)[labelled].sum() / labelled.sum()
    mask = labelled[:, None].float()
    p = log_p.exp() * mask
    y = F.one_hot(target, len(CLASSES)).permute(0, 3, 1, 2).float() * mask
    overlap, truth, predicted = ((p * y).sum((0, 2, 3)), y.sum((0, 2, 3)), p.sum((0, 2, 3)))
    dice = 1 - (2 * overlap + _EPSILON) / (truth + predicted + _EPSILON)
    present = weights_C * (truth > 0)
    return wce, (present * dice).sum() / present.sum()


def total_loss(
    logits: dict[str, torch.Tensor], targets: dict[str, torch.Tensor], config: LossConfig, weights: str
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Eq. 7 over all heads. targets: `high` and `low` labels, uint8 (B, H, W); weights: `static` or `dynamic`.

    Returns the loss and its detached parts (`merged_wce`, `merged_wdl`, …).
    """
    total = torch.zeros((), device=next(iter(logits.values())).device)
    parts: dict[str, torch.Tensor] = {}
    head_weights: Mapping[str, float] = {str(head): weight for head, weight in config.heads.items()}
    for head, head_logits in logits.items():
        target = targets[view_of(head)]
        if weights == "static":
            class_weights = torch.tensor(config.static_weights, device=target.device)
            class_weights = class_weights / class_weights.mean()
        else:
            class_weights = dynamic_weights(target, config.floor)
        wce, wdl = head_loss(head_logits, target, class_weights)
        scale = head_weights.get(head, 1.0) if len(logits) > 1 else 1.0
        total = total + scale * (wce + wdl)
        parts |= {f"{head}_wce": wce.detach(), f"{head}_wdl": wdl.detach()}
    return total, parts
