"""Networks: parameters, grids, and where in the views an output looks."""

import pytest
import torch
import torch.nn.functional as F
from monai.networks.nets.efficientnet import EfficientNet, MBConvBlock
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import DecoderConfig, EncoderConfig, ModelConfig
from mlseg_dist.model import build_model
from mlseg_dist.model.blocks import centre, upsample
from mlseg_dist.model.encoder import _BLOCKS, Encoder
from mlseg_dist.model.merge import Compress
from mlseg_dist.sides import check_hooks, check_side, fits
from mlseg_dist.training.loop import learning_rate

SMALL = EncoderConfig(name="custom", width=0.2, depth=0.2, drop_connect=0.0)


def small(**changes):
    return ModelConfig(encoder=SMALL, decoder=DecoderConfig(channels=(16, 16, 8, 8, 8)), merge_channels=16, **changes)


PLAIN = DecoderConfig(kind="plain", channels=(256, 128, 64, 32, 16), stride=1)


@pytest.mark.parametrize("config", [ModelConfig(), ModelConfig(merge="compress", decoder=PLAIN)], ids=["ours", "paper"])
def test_the_networks_have_about_25_million_parameters_as_the_papers(config):
    count = sum(p.numel() for p in build_model(config).parameters())
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
    """A point at d from the centre of the low map arrives at d / ratio."""
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


@pytest.mark.parametrize("kind", ["plain", "separable", "light"])
@pytest.mark.parametrize("stride", [1, 2, 4])
@pytest.mark.parametrize("ratio", [2, 16])
def test_every_decoder_ends_on_its_views_grid(kind, stride, ratio):
    decoder = DecoderConfig(kind=kind, channels=(16, 8, 8, 8, 8), stride=stride)
    config = ModelConfig(encoder=SMALL, decoder=decoder, merge_channels=8)
    x = torch.randn(1, 3, 192, 192)
    with torch.no_grad():
        out = build_model(config, ratio, seed=1).eval()(x, x)
    assert {tuple(y.shape) for y in out.values()} == {(1, 3, 192, 192)}


def test_light_stage_is_a_concatenating_one_with_its_first_1x1_split():
    """1x1 convolutions commute with upsampling: conv(cat(up(deep), skip)) = up(conv(deep)) + conv(skip)."""
    deep, skip = torch.randn(1, 6, 8, 8), torch.randn(1, 4, 16, 16)
    weight = torch.randn(5, 10, 1, 1)
    whole = F.conv2d(torch.cat([upsample(deep, 2), skip], 1), weight)
    split = upsample(F.conv2d(deep, weight[:, :6]), 2) + F.conv2d(skip, weight[:, 6:])
    assert torch.allclose(whole, split, atol=1e-5)


def test_sides_that_do_not_fit_name_the_nearest_that_do():
    for config, side, near in (
        (ModelConfig(), 500, "480 or 512"),
        (ModelConfig(kind="unet"), 10, "32"),
        (ModelConfig(), 511, "480 or 512"),
    ):
        with pytest.raises(UserError, match=f"train.patch_px: .* {side} px. Nearest sizes that fit: {near}"):
            check_side(config, 4, side, "train.patch_px")


@pytest.mark.parametrize("ratio", [2, 4, 8, 16])
@pytest.mark.parametrize("side", range(32, 257, 32))
def test_sides_that_fit_can_be_run(ratio, side):
    assert fits(ModelConfig(), ratio, side)
    x = torch.randn(1, 3, side, side)
    with torch.no_grad():
        assert build_model(small(merge="both"), ratio, seed=1).eval()(x, x)["merged"].shape == x.shape


def test_hooks_that_cannot_be_are_refused():
    for changes, ratio, said in (
        ({"hooks": (4,)}, 8, "no hook at stride 4: at a level ratio of 8"),
        ({}, 3, "no m-UNet for a level ratio of 3"),
        ({"hooks": (4,), "decoder": DecoderConfig(stride=4)}, 4, ""),
    ):
        if said:
            with pytest.raises(UserError, match=said):
                check_hooks(ModelConfig(**changes), ratio)
        else:
            check_hooks(ModelConfig(**changes), ratio)


def test_the_encoder_is_monais_but_for_where_padding_lies():
    """Cell i of MONAI's map at stride 4 looks at px 4 i + 3, ours at 4 i: the same numbers on an image moved by 3 px."""
    published = EfficientNet(list(_BLOCKS), norm=("batch", {"eps": 1e-3})).eval()
    ours = Encoder(EncoderConfig(name="b0"), 4).eval()
    state = published.state_dict()
    ours.load_state_dict({name: state[name] for name in ours.state_dict()})
    for part in [*published.modules(), *ours.modules()]:
        if isinstance(part, MBConvBlock):
            part.has_se = False  # it averages over the whole map, borders included
    x = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        want = torch.roll(x, (3, 3), (2, 3))
        want = published._swish(published._bn0(published._conv_stem(published._conv_stem_padding(want))))
        want = published._blocks[1](published._blocks[0](want))
        got = ours(x)[1]
    inside = (..., slice(8, 24), slice(8, 24))
    assert float(want[inside].std()) > 1e-3
    assert torch.allclose(got[inside], want[inside], atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kind", ["plain", "light"])
def test_training_is_one_graph_for_the_compiler(kind):
    """No graph break: fullgraph raises at one."""
    torch.compiler.reset()
    encoder = SMALL.model_copy(update={"drop_connect": 0.2})
    decoder = DecoderConfig(kind=kind, channels=(8, 8, 8, 8, 8), stride=2)
    model = build_model(ModelConfig(encoder=encoder, decoder=decoder, merge="both", merge_channels=8), 4, seed=1)
    views = torch.randn(2, 2, 3, 64, 64)
    torch.manual_seed(5)
    want = model(*views)
    compiled = build_model(ModelConfig(encoder=encoder, decoder=decoder, merge="both", merge_channels=8), 4, seed=1)
    compiled.compile(backend="aot_eager", fullgraph=True)
    torch.manual_seed(5)
    got = compiled(*views)
    sum(x.square().mean() for x in got.values()).backward()
    assert all(torch.allclose(got[head], want[head], atol=1e-4) for head in want)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in compiled.parameters())
    assert list(compiled.state_dict()) == list(model.state_dict())


def test_a_compiled_upsampling_trains_on_channels_last_and_gives_the_same():
    """By the real compiler, which stopped at the gradient of a replicated border."""
    torch.compiler.reset()
    maps = torch.randn(2, 3, 8, 8).contiguous(memory_format=torch.channels_last).requires_grad_()
    want = upsample(maps, 2)
    (expected,) = torch.autograd.grad(want.square().sum(), maps)
    got = torch.compile(upsample, fullgraph=True)(maps, 2)
    (gradient,) = torch.autograd.grad(got.square().sum(), maps)
    assert torch.allclose(got, want, atol=1e-6) and torch.allclose(gradient, expected, atol=1e-5)


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
