"""The loss in float64, pixel by pixel, from the printed equations and the papers of the robust options."""

import numpy as np

from mlseg_dist.config import IGNORED, LossConfig


def class_weights(target, config: LossConfig, weights: str):
    """Equation 1 with floor and normalisation, or the static weights."""
    raw = np.array(config.static_weights)
    if weights == "dynamic":
        counts = np.array([(target == c).sum() for c in range(3)], float)
        raw = np.maximum(1 - counts / max(1, counts.sum()), config.floor)
    return raw / raw.mean()


def pixel_loss(p, label, config: LossConfig):
    smoothed = np.full(3, config.label_smoothing / 3)
    smoothed[label] += 1 - config.label_smoothing
    if config.pixel == "generalised":
        q = config.generalised_q
        return sum(t * (1 - p_k**q) / q for t, p_k in zip(smoothed, p, strict=True))
    loss = -sum(t * np.log(p_k) for t, p_k in zip(smoothed, p, strict=True))
    if config.pixel == "symmetric":
        log_label = [0.0 if c == label else -4.0 for c in range(3)]
        loss -= config.symmetric_weight * sum(p_k * log for p_k, log in zip(p, log_label, strict=True))
    return loss


def head_parts(logits, target, config: LossConfig, weights: str):
    """(WCE, WDL) of one head. logits (B, 3, H, W), target (B, H, W)."""
    w = class_weights(target, config, weights)
    logits = logits.astype(np.float64)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    cross_entropy, labelled = 0.0, 0
    overlap, truth, predicted = np.zeros(3), np.zeros(3), np.zeros(3)
    for b, i, j in np.argwhere(target != IGNORED):
        label = target[b, i, j]
        cross_entropy += w[label] * pixel_loss(p[b, :, i, j], label, config)
        labelled += 1
        overlap[label] += p[b, label, i, j]
        truth[label] += 1
        predicted += p[b, :, i, j]
    if not labelled:
        return 0.0, 0.0
    dice, total = 0.0, 0.0
    for c in range(3):
        if truth[c]:
            dice += w[c] * (1 - (2 * overlap[c] + 1) / (truth[c] + predicted[c] + 1))
            total += w[c]
    return cross_entropy / labelled, dice / total
