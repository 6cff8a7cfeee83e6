"""The loss against a float64 reference written from the equations, and its edges (SPEC §3)."""

import numpy as np
import pytest
import torch

from mlseg_dist.config import IGNORED, LossConfig
from mlseg_dist.loss import dynamic_weights, head_loss, total_loss


def reference_weights(target, floor):
    counts = np.array([(target == c).sum() for c in range(3)], float)
    weights = np.maximum(1 - counts / max(1, counts.sum()), floor)
    return weights / weights.mean()


def reference(logits, target, weights):
    """Equations 3-6 pixel by pixel, float64."""
    logits = logits.astype(float)
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    wce, labelled = 0.0, 0
    overlap, truth, predicted = np.zeros(3), np.zeros(3), np.zeros(3)
    for b, i, j in np.argwhere(target != IGNORED):
        c = target[b, i, j]
        wce -= weights[c] * np.log(p[b, c, i, j])
        labelled += 1
        overlap[c] += p[b, c, i, j]
        truth[c] += 1
        predicted += p[b, :, i, j]
    dice = 1 - (2 * overlap + 1) / (truth + predicted + 1)
    present = weights * (truth > 0)
    return wce / labelled, (present * dice).sum() / present.sum()


@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2), (1,)])
@pytest.mark.parametrize("weights", ["dynamic", "static"])
def test_matches_the_equations(classes, weights):
    random = np.random.default_rng(len(classes))
    logits = random.normal(0, 3, (4, 3, 9, 7)).astype(np.float32)
    target = random.choice([*classes, IGNORED], (4, 9, 7)).astype(np.uint8)
    config = LossConfig()
    loss, parts = total_loss({"merged": torch.tensor(logits)}, {"high": torch.tensor(target)}, config, weights)
    w = reference_weights(target, config.floor) if weights == "dynamic" else np.array(config.static_weights)
    wce, wdl = reference(logits, target, w / w.mean())
    assert float(parts["merged_wce"]) == pytest.approx(wce, rel=1e-5)
    assert float(parts["merged_wdl"]) == pytest.approx(wdl, rel=1e-5)
    assert float(loss) == pytest.approx(wce + wdl, rel=1e-5)


def test_ignored_pixels_have_no_gradient_at_all():
    logits = torch.randn(2, 3, 8, 8, requires_grad=True)
    target = torch.randint(0, 3, (2, 8, 8), dtype=torch.uint8)
    ignored = torch.rand(2, 8, 8) < 0.5
    target[ignored] = IGNORED
    total_loss({"merged": logits}, {"high": target}, LossConfig(), "dynamic")[0].backward()
    gradient = logits.grad.abs().sum(1)
    assert gradient[ignored].eq(0).all() and gradient[~ignored].gt(0).all()


def test_nothing_labelled_is_zero_with_a_live_graph():
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    target = torch.full((2, 4, 4), IGNORED, dtype=torch.uint8)
    loss, _ = total_loss({"merged": logits}, {"high": target}, LossConfig(), "dynamic")
    loss.backward()
    assert loss.item() == 0 and logits.grad.eq(0).all()


def test_one_class_still_learns_because_of_the_floor():
    target = torch.ones(1, 4, 4, dtype=torch.uint8)
    weights = dynamic_weights(target, 0.05)
    assert weights[1] > 0 and float(weights.mean()) == pytest.approx(1)
    wce, _ = head_loss(torch.zeros(1, 3, 4, 4), target, weights)
    assert float(wce) > 0


def test_heads_are_weighted_and_low_has_its_own_label():
    random = torch.Generator().manual_seed(0)
    logits = {head: torch.randn(2, 3, 4, 4, generator=random) for head in ("merged", "high", "low")}
    targets = {v: torch.randint(0, 3, (2, 4, 4), generator=random, dtype=torch.uint8) for v in ("high", "low")}
    config = LossConfig(heads={"merged": 1.0, "high": 0.5, "low": 0.25})
    total, parts = total_loss(logits, targets, config, "dynamic")
    expected = sum(
        scale * (parts[f"{head}_wce"] + parts[f"{head}_wdl"])
        for head, scale in (("merged", 1), ("high", 0.5), ("low", 0.25))
    )
    assert float(total) == pytest.approx(float(expected), rel=1e-6)
    alone = head_loss(logits["low"], targets["low"], dynamic_weights(targets["low"], 0.05))[0]
    assert float(parts["low_wce"]) == pytest.approx(float(alone))
