"""Networks: parameters, grids, and where in the views an output looks."""

import pytest
import torch
from torch import nn

from mlseg_dist.config import EncoderConfig, ModelConfig
from mlseg_dist.model import build_model
from mlseg_dist.model.munet import Compress, centre
from mlseg_dist.training.schedule import learning_rate

SMALL = EncoderConfig(name="custom", width=0.2, depth=0.2, drop_connect=0.0)


def small(**changes):
    return ModelConfig(encoder=SMALL, decoder_channels=(16, 16, 8, 8, 8), merge_channels=16, **changes)


def test_the_papers_network_has_about_25_million_parameters():
    count = sum(p.numel() for p in build_model(ModelConfig()).parameters())
    print(f"{count / 1e6:.2f} M parameters")
    assert 23e6 < count < 27e6


@pytest.mark.parametrize("merge", ["compress", "crop", "both"])
@pytest.mark.parametrize("ratio", [2, 4, 8])
def test_every_head_is_on_its_views_grid(merge, ratio):
    model = build_model(small(merge=merge), ratio, seed=1).eval()
    x = torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        out = model(x, x)
    assert {head: tuple(y.shape) for head, y in out.items()} == dict.fromkeys(
        ("merged", "high", "low"), (2, 3, 128, 128)
    )
    assert all(y.dtype == torch.float32 for y in out.values())


@pytest.mark.parametrize("view", ["high", "low"])
def test_the_base_sees_one_view_only(view):
    model = build_model(ModelConfig(kind="unet", view=view, encoder=SMALL), 4, seed=1).eval()
    x, y, z = torch.randn(3, 1, 3, 64, 64)
    with torch.no_grad():
        first = model(x, y) if view == "high" else model(y, x)
        second = model(x, z) if view == "high" else model(z, x)
    assert list(first) == [view] and torch.equal(first[view], second[view])


def test_merged_head_sees_the_whole_low_view_and_high_head_too():
    """With `compress` a change anywhere in the low view reaches the high branch: context crosses over."""
    model = build_model(small(), 4, seed=1).eval()
    high, low = torch.randn(2, 1, 3, 128, 128)
    changed = low.clone()
    changed[..., :16, :16] += 3  # a far corner, outside the high view's field
    with torch.no_grad():
        before, after = model(high, low), model(high, changed)
    assert not torch.equal(before["high"], after["high"]) and not torch.equal(before["merged"], after["merged"])


def test_centre_of_the_low_grid_is_the_field_of_the_high_view():
    x = torch.arange(64.0).reshape(1, 1, 8, 8)
    assert torch.equal(centre(x, 4), x[..., 3:5, 3:5])


def test_compress_folds_about_the_centre():
    """A point at d from the centre of the low map arrives at d / ratio (SPEC §2)."""
    fold = Compress(1, 1, 4, 0.1).eval()
    for module in fold.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1.0)
    for row, column in ((0, 0), (5, 27), (31, 16)):
        x = torch.zeros(1, 1, 32, 32)
        x[0, 0, row, column] = 1
        y = fold(x)[0, 0]
        place = divmod(int((y - y.min()).argmax()), y.shape[1])
        assert place == (row // 4, column // 4)


def test_weights_are_a_function_of_the_seed():
    a, b, c = (build_model(small(), 4, seed=s).state_dict() for s in (1, 1, 2))
    assert all(torch.equal(a[k], b[k]) for k in a) and any(not torch.equal(a[k], c[k]) for k in a)


def test_learning_rate_starts_at_lr0_halves_and_is_pure():
    rates = [learning_rate(s, 400, 0.01, cycles=4, warmup=0) for s in range(400)]
    assert rates[0] == 0.01 and [rates[100 * c] for c in range(4)] == pytest.approx([0.01, 0.005, 0.0025, 0.00125])
    for cycle in range(4):
        part = rates[100 * cycle : 100 * (cycle + 1)]
        assert part == sorted(part, reverse=True) and len(set(part)) == 5
    assert learning_rate(0, 400, 0.01, 4, warmup=9) == pytest.approx(0.001)
    assert min(rates) > 0
