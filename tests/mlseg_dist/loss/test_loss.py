"""The loss against a float64 reference written from the equations, and its edges."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import IGNORED, HeadWeights, LossConfig
from mlseg_dist.loss import SegmentationLoss, centre
from mlseg_dist.loss import sums as sums_module
from tests.mlseg_dist.loss_reference import head_parts

HEADS = ("merged", "high", "low")
PIXEL_LOSSES = [
    LossConfig(),
    LossConfig(label_smoothing=0.1),
    LossConfig(pixel="symmetric", symmetric_weight=0.5),
    LossConfig(pixel="symmetric", label_smoothing=0.2),
    LossConfig(pixel="generalised"),
    LossConfig(pixel="generalised", generalised_q=0.3, label_smoothing=0.1),
]
by_pixel_loss = pytest.mark.parametrize("config", PIXEL_LOSSES, ids=lambda c: f"{c.pixel}-{c.label_smoothing}")


def micro_batch(seed=0, shape=(2, 8, 8), classes=(0, 1, 2), ignored=0.3, scale=2.0, dtype=torch.float32):
    """Logits of three heads and labels of both views."""
    random = np.random.default_rng(seed)
    batch, height, width = shape
    logits = {
        head: torch.tensor(random.normal(0, scale, (batch, 3, height, width)), dtype=dtype, requires_grad=True)
        for head in HEADS
    }
    targets = {}
    for view in ("high", "low"):
        labels = random.choice(classes, shape).astype(np.uint8)
        targets[view] = torch.tensor(np.where(random.random(shape) < ignored, IGNORED, labels))
    return logits, targets


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    shape=st.tuples(st.integers(1, 3), st.integers(1, 6), st.integers(1, 7)),
    classes=st.sampled_from([(0, 1, 2), (0, 1), (0, 2), (1, 2), (0,), (1,), (2,)]),
    ignored=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
    scale=st.sampled_from([0.0, 1.0, 20.0]),
    weights=st.sampled_from(["static", "dynamic"]),
    config=st.sampled_from(PIXEL_LOSSES),
    floor=st.sampled_from([0.0, 0.05, 0.5]),
)
def test_every_batch_matches_the_equations(seed, shape, classes, ignored, scale, weights, config, floor):
    config = config.model_copy(update={"floor": floor})
    logits, targets = micro_batch(seed, shape, classes, ignored, scale)
    total, parts = SegmentationLoss(config, weights)(logits, targets)
    expected_total = 0.0
    for head, weight in (("merged", 1.0), ("high", 0.5), ("low", 0.5)):
        target = targets["low" if head == "low" else "high"].numpy()
        if floor == 0 and weights == "dynamic" and len(set(target[target != IGNORED].tolist())) == 1:
            expected = (0.0, 0.0)  # without a floor the only class has no weight
        else:
            expected = head_parts(logits[head].detach().numpy(), target, config, weights)
        assert parts[f"{head}_wce"].item() == pytest.approx(expected[0], rel=1e-5, abs=1e-6)
        assert parts[f"{head}_wdl"].item() == pytest.approx(expected[1], rel=1e-5, abs=1e-6)
        expected_total += weight * sum(expected)
    assert total.item() == pytest.approx(expected_total, rel=1e-5, abs=1e-6)
    total.backward()
    assert all(bool(x.grad.isfinite().all()) for x in logits.values())


@by_pixel_loss
@pytest.mark.parametrize("weights", ["static", "dynamic"])
@pytest.mark.parametrize("classes", [(0, 1, 2), (0, 2), (1,)])
def test_gradient_by_hand_is_the_numerical_one(config, weights, classes):
    logits, targets = micro_batch(1, (2, 3, 2), classes, dtype=torch.float64)
    loss = SegmentationLoss(config, weights)
    assert torch.autograd.gradcheck(
        lambda *x: loss(dict(zip(HEADS, x, strict=True)), targets)[0], tuple(logits.values())
    )


@by_pixel_loss
def test_ignored_pixels_have_no_gradient_at_all_whatever_stands_there(config):
    logits, targets = micro_batch(2)
    at = {head: targets["low" if head == "low" else "high"] == IGNORED for head in HEADS}
    with torch.no_grad():
        for head, x in logits.items():
            rubbish = torch.tensor([torch.inf, -torch.inf, torch.nan, 1e38]).repeat(x.numel() // 4).view_as(x)
            x.copy_(torch.where(at[head][:, None], rubbish, x))
    total, _ = SegmentationLoss(config, "dynamic")(logits, targets)
    total.backward()
    for head, x in logits.items():
        gradient = x.grad.abs().sum(1)
        assert gradient[at[head]].eq(0).all() and gradient[~at[head]].gt(0).all()


@by_pixel_loss
@pytest.mark.parametrize("weights", ["static", "dynamic"])
def test_nothing_labelled_is_zero_with_a_live_graph(config, weights):
    logits, targets = micro_batch(ignored=1.0)
    total, parts = SegmentationLoss(config, weights)(logits, targets)
    total.backward()
    assert total.item() == 0 and all(part.item() == 0 for part in parts.values())
    assert all(x.grad.eq(0).all() for x in logits.values())


def test_one_class_still_learns_because_of_the_floor():
    logits, targets = micro_batch(classes=(1,), ignored=0.0)
    total, parts = SegmentationLoss(LossConfig(), "dynamic")(logits, targets)
    total.backward()
    assert parts["merged_wce"] > 0
    assert (logits["merged"].grad[:, 1] < 0).all() and (logits["merged"].grad[:, [0, 2]] > 0).all()


def test_an_absent_class_has_no_dice():
    logits, targets = micro_batch(classes=(0, 1), ignored=0.0)
    with torch.no_grad():
        logits["merged"][:, 2] = -1e4  # never predicted either
        logits["merged"][:, :2] = 1e4 * torch.stack([targets["high"] == c for c in (0, 1)], 1)
    _, parts = SegmentationLoss(LossConfig(), "dynamic")(logits, targets)
    assert parts["merged_wce"] == 0 and parts["merged_wdl"] == 0


def test_heads_are_weighted_and_low_has_its_own_label():
    logits, targets = micro_batch()
    config = LossConfig(heads=HeadWeights(answer=0.7, high=0.4, low=0.2))
    total, parts = SegmentationLoss(config, "dynamic")(logits, targets)
    expected = sum(w * (parts[f"{h}_wce"] + parts[f"{h}_wdl"]) for h, w in zip(HEADS, (0.7, 0.4, 0.2), strict=True))
    assert total.item() == pytest.approx(float(expected), rel=1e-6)
    swapped = {"high": targets["low"], "low": targets["high"]}
    _, other = SegmentationLoss(config, "dynamic")(
        {"merged": logits["merged"], "high": logits["low"], "low": logits["high"]}, swapped
    )
    assert torch.equal(other["low_wce"], parts["high_wce"]) and torch.equal(other["high_wdl"], parts["low_wdl"])


@pytest.mark.parametrize(("heads", "weights"), [(("high", "low"), (2, 0.2)), (("low",), (2,)), (("high",), (2,))])
def test_the_head_that_answers_takes_its_weight(heads, weights):
    logits, targets = micro_batch()
    config = LossConfig(heads=HeadWeights(answer=2, high=0.4, low=0.2))
    total, parts = SegmentationLoss(config, "static")({head: logits[head] for head in heads}, targets)
    expected = sum(w * (parts[f"{h}_wce"] + parts[f"{h}_wdl"]) for h, w in zip(heads, weights, strict=True))
    assert total.item() == pytest.approx(float(expected), rel=1e-6)


def test_a_head_of_weight_0_has_parts_but_no_graph():
    logits, targets = micro_batch()
    with_low, parts = SegmentationLoss(LossConfig(), "dynamic")(logits, targets)
    config = LossConfig(heads=HeadWeights(low=0.0))
    total, same = SegmentationLoss(config, "dynamic")(logits, targets)
    assert parts.keys() == same.keys() and all(torch.equal(parts[name], same[name]) for name in parts)
    assert (with_low - total).item() == pytest.approx(0.5 * float(parts["low_wce"] + parts["low_wdl"]), rel=1e-5)
    total.backward()
    assert logits["low"].grad is None and logits["high"].grad is not None
    with pytest.raises(UserError, match=r"loss\.heads"):
        SegmentationLoss(LossConfig(heads=HeadWeights(answer=0, high=0, low=0)), "static")(logits, targets)


def test_smaller_logits_answer_for_the_centre():
    logits, targets = micro_batch(shape=(2, 12, 12))
    small = {head: x.detach()[:, :, 2:10, 2:10] for head, x in logits.items()}
    inner = {view: x[:, 2:10, 2:10] for view, x in targets.items()}
    loss = SegmentationLoss(LossConfig(), "dynamic")
    assert torch.equal(loss(small, targets)[0], loss(small, inner)[0])
    assert not torch.equal(loss(small, {v: x.roll(1, 1) for v, x in targets.items()})[0], loss(small, inner)[0])
    for side in (9, 11, 13):
        with pytest.raises(UserError, match="no centre"):
            centre(targets["high"], torch.zeros(2, 3, side, side))


def run_both_ways(loss, logits, targets):
    total, parts = loss(logits, targets)
    return [total, *parts.values(), *torch.autograd.grad(total, [x for x in logits.values()])]


class LooksAtValues(nn.Module):
    """What the two tests below must refuse."""

    def forward(self, logits, targets):
        labelled = targets["high"] != IGNORED
        total = sum(x.sum() for x in logits.values())
        return (total if labelled.any() else 0 * total), {}


@by_pixel_loss
def test_no_value_is_read_back_and_no_shape_depends_on_data(config):
    """Tensors without values (meta) refuse whatever would make a GPU's host wait: bool(), .item(), masks as indices."""
    logits, targets = micro_batch(shape=(2, 12, 12))
    logits = {h: torch.empty_like(x[:, :, 2:-2, 2:-2], device="meta", requires_grad=True) for h, x in logits.items()}
    targets = {view: x.to("meta") for view, x in targets.items()}
    for weights in ("static", "dynamic"):
        outcome = run_both_ways(SegmentationLoss(config, weights).to("meta"), logits, targets)
        assert all(x.is_meta for x in outcome)
    with pytest.raises(RuntimeError):
        run_both_ways(LooksAtValues(), logits, targets)


@pytest.mark.parametrize("config", [PIXEL_LOSSES[0], PIXEL_LOSSES[-1]], ids=["ce", "generalised"])
def test_compiles_into_one_graph(config):
    logits, targets = micro_batch()
    loss = SegmentationLoss(config, "dynamic")
    torch.compiler.reset()  # another test's option would come in as a dynamic number
    compiled = torch.compile(loss, fullgraph=True, backend="eager")
    for mine, expected in zip(
        run_both_ways(compiled, logits, targets), run_both_ways(loss, logits, targets), strict=True
    ):
        assert torch.equal(mine, expected)
    with pytest.raises(Exception, match=r"[Dd]ata-dependent"):
        torch.compile(LooksAtValues(), fullgraph=True, backend="eager")(logits, targets)


def test_autocast_and_bf16_logits_are_worked_on_in_float32():
    logits, targets = micro_batch(shape=(2, 16, 16))
    rough = {head: x.detach().bfloat16().requires_grad_() for head, x in logits.items()}
    wide = {head: x.detach().float().requires_grad_() for head, x in rough.items()}
    loss = SegmentationLoss(LossConfig(), "dynamic")
    with torch.autocast("cpu", torch.bfloat16):
        mine = run_both_ways(loss, rough, targets)
    expected = run_both_ways(loss, wide, targets)
    assert all(x.dtype == torch.float32 for x in mine[:7])
    for x, y in zip(mine, expected, strict=True):
        assert torch.equal(x, y.to(x.dtype))


def test_layout_and_the_size_of_parts_do_not_matter(monkeypatch):
    logits, targets = micro_batch(shape=(5, 16, 16))
    loss = SegmentationLoss(LossConfig(), "dynamic")
    expected = run_both_ways(loss, logits, targets)
    monkeypatch.setattr(sums_module, "_CACHED", 2 * 3 * 16 * 16)  # samples by twos, the last alone
    last = {h: x.detach().to(memory_format=torch.channels_last).requires_grad_() for h, x in logits.items()}
    mine = run_both_ways(loss, last, targets)
    for x, y in zip(mine, expected, strict=True):
        torch.testing.assert_close(x, y, rtol=1e-5, atol=1e-8)
    assert mine[-1].is_contiguous(memory_format=torch.channels_last)
