"""From sums over the loss group to the loss: class weights (eq. 1), WCE and WDL (eq. 3-6), heads (eq. 7)."""

from collections.abc import Mapping
from typing import Literal

import torch
import torch.distributed as dist
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import HeadWeights, LossConfig
from mlseg_dist.loss.sums import COUNT, OVERLAP, PIXEL, PREDICTED, class_sums, sum_over_ranks
from mlseg_dist.model import output_head, view_of

_EPSILON = 1.0  # ε of the Dice loss, pixels
_REVERSE = 4.0  # -log 0 of the reverse cross entropy (Wang 2019)


class SegmentationLoss(nn.Module):
    """Total = Σ_heads W^s (WCE + WDL) over the loss group. weights: of the classes, this step's (Table 8).

    Move it to the device once: constants lie in its buffers. With `group: step` every rank must call it at the same time.
    """

    static_weights: torch.Tensor

    def __init__(self, config: LossConfig, weights: Literal["static", "dynamic"]) -> None:
        super().__init__()
        self.config, self.dynamic = config, weights == "dynamic"
        self._q = config.generalised_q if config.pixel == "generalised" else 0.0
        self._reverse = config.symmetric_weight if config.pixel == "symmetric" else 0.0
        static = torch.tensor(config.static_weights)
        self.register_buffer("static_weights", static / static.mean(), persistent=False)

    def forward(
        self, logits: Mapping[str, torch.Tensor], targets: Mapping[str, torch.Tensor]
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """logits: head -> (B, 3, H, W); targets: view -> uint8 (B, S, S), S >= H, of which the centre is taken.

        Returns the loss, 0 with a live graph where nothing is labelled, and its detached parts `{head}_wce`, `{head}_wdl`.
        A head of weight 0 has parts, but no graph. Raises UserError when sizes do not fit, or every head has weight 0.
        """
        scales = _head_weights(logits, self.config.heads)
        sums = torch.stack([self._sums(x if scales[h] else x.detach(), targets[view_of(h)]) for h, x in logits.items()])
        if self.config.group == "step" and dist.is_initialized() and dist.get_world_size() > 1:
            sums = sum_over_ranks(sums)
        if self.dynamic:
            class_weights = dynamic_weights(sums[:, COUNT].detach(), self.config.floor)
        else:
            class_weights = self.static_weights.to(sums.dtype).expand(len(scales), -1)
        wce, wdl = equations(sums, class_weights, self._reverse)
        total = torch.stack([scale * (wce[i] + wdl[i]) for i, scale in enumerate(scales.values()) if scale]).sum()
        parts: dict[str, torch.Tensor] = {}
        for i, head in enumerate(scales):
            parts |= {f"{head}_wce": wce[i].detach(), f"{head}_wdl": wdl[i].detach()}
        return total, parts

    def _sums(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return class_sums(logits, centre(target, logits), self._q, self.config.label_smoothing)


def dynamic_weights(counts_HC: torch.Tensor, floor: float) -> torch.Tensor:
    """W_c = 1 - n_c / Σn (eq. 1), floored so that a batch of one class still learns, normalised to mean 1.

    counts: labelled pixels (heads, 3). All 0: all weights are 1.
    """
    share = counts_HC / counts_HC.sum(-1, keepdim=True).clamp_min(1)
    weights = (1 - share).clamp_min(floor)
    return weights / weights.mean(-1, keepdim=True)


def equations(
    sums_H4C: torch.Tensor, weights_HC: torch.Tensor, reverse: float = 0.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """(WCE, WDL), each (heads,), from the sums of class_sums; 0 where nothing is labelled.

    WCE = Σ_c W_c Σ_{y=c} loss / labelled pixels. reverse: weight of the reverse cross entropy -Σ p log y = 4 (1 - p_y).
    WDL = Σ W_c (1 - (2 Σyp + ε) / (Σy + Σp + ε)) / Σ W_c over classes present.
    """
    count, pixel, overlap, predicted = (sums_H4C[..., row, :] for row in (COUNT, PIXEL, OVERLAP, PREDICTED))
    if reverse:
        pixel = pixel + reverse * _REVERSE * (count - overlap)
    wce = (weights_HC * pixel).sum(-1) / count.sum(-1).clamp_min(1)
    dice = 1 - (2 * overlap + _EPSILON) / (count + predicted + _EPSILON)
    present = weights_HC * (count > 0)
    wdl = (present * dice).sum(-1) / present.sum(-1).clamp_min(torch.finfo(present.dtype).tiny)
    return wce, wdl


def centre(target_BSS: torch.Tensor, logits_BCHW: torch.Tensor) -> torch.Tensor:
    """The part of the labels that lies under the logits (valid convolutions answer for the centre only). Raises UserError."""
    margins = [full - part for full, part in zip(target_BSS.shape[1:], logits_BCHW.shape[2:], strict=True)]
    if any(margin < 0 or margin % 2 for margin in margins):
        raise UserError(
            f"an answer of {tuple(logits_BCHW.shape[2:])} px has no centre in labels of {tuple(target_BSS.shape[1:])} px",
            "train.patch_px",
            "The answer must be smaller by an even number of px, or as large.",
        )
    top, left = (margin // 2 for margin in margins)
    return target_BSS[:, top : top + logits_BCHW.shape[2], left : left + logits_BCHW.shape[3]]


def _head_weights(logits: Mapping[str, torch.Tensor], config: HeadWeights) -> dict[str, float]:
    """W^s of each head. Raises UserError when none is above 0."""
    answer = output_head(logits)
    scales = {head: config.answer if head == answer else getattr(config, view_of(head)) for head in logits}
    if not any(scales.values()):
        raise UserError(f"every head ({', '.join(scales)}) has weight 0", "loss.heads", "Give one a weight above 0.")
    return scales
