"""HookNet and DeepLabV3: sizes, parameters, and where in the views their outputs look."""

import pytest
import torch
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import EncoderConfig, HookNetConfig, ModelConfig
from mlseg_dist.model.deeplab import DILATIONS, DeepLab
from mlseg_dist.model.hooknet import HookNet
from mlseg_dist.sides import branch_sides

SMALL = EncoderConfig(name="custom", width=0.2, depth=0.2, drop_connect=0.0)


def hooknet(ratio=4, filters=2, depth=4, padding="valid"):
    torch.manual_seed(0)
    config = HookNetConfig(filters=filters, depth=depth, padding=padding)
    return HookNet(ModelConfig(kind="hooknet", hooknet=config), ratio)


def shapes(model, side, batch=1):
    with torch.no_grad():
        out = model.eval()(torch.randn(batch, 3, side, side), torch.randn(batch, 3, side, side))
    assert all(logits.dtype == torch.float32 for logits in out.values())
    return {head: tuple(logits.shape) for head, logits in out.items()}


@pytest.mark.parametrize("ratio", [2, 4, 8, 16])
def test_published_sizes(ratio):
    model = hooknet(ratio)
    assert shapes(model, 284, batch=2) == {"high": (2, 3, 70, 70), "low": (2, 3, 70, 70)}
    assert model.output_side(284) == 70
    found = branch_sides(HookNetConfig(padding="valid"), 284)
    assert found is not None
    assert (found.skips, found.bottleneck, found.stages) == ((280, 136, 64, 28), 10, (14, 22, 38, 70))


@pytest.mark.parametrize(("ratio", "depth"), [(4, 4), (16, 4), (4, 2), (8, 3)])
def test_same_convolutions_keep_the_size(ratio, depth):
    assert shapes(hooknet(ratio, depth=depth, padding="same"), 64) == {"high": (1, 3, 64, 64), "low": (1, 3, 64, 64)}


@pytest.mark.parametrize(("ratio", "millions"), [(4, 70.220), (16, 69.336)])
def test_parameters_at_64_filters(ratio, millions):
    """By hand: 3x3 weights, scale and shift of each norm, and the 1x1 heads with bias."""

    def conv(before, out):
        return 9 * before * out + 2 * out

    widths = [64, 128, 256, 512, 1024]
    branch = 64 * 3 + 3
    for before, out in zip([3, *widths[:-1]], widths, strict=True):
        branch += conv(before, out) + conv(out, out)
    for deep, out in zip(widths[:0:-1], widths[-2::-1], strict=True):
        branch += conv(deep, out) + conv(2 * out, out) + conv(out, out)
    hook = 9 * (1024 // ratio) * 512
    count = sum(p.numel() for p in hooknet(ratio, filters=64).parameters())
    assert count == 2 * branch + hook
    assert count / 1e6 == pytest.approx(millions, abs=0.0006)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("ratio", "depth"), [(2, 2), (4, 2), (4, 3), (8, 3), (4, 4), (16, 4)])
def test_each_size_fits_and_is_aligned_or_is_refused(padding, ratio, depth):
    model = hooknet(ratio, depth=depth, padding=padding).eval()
    fitting = [side for side in range(1, 420) if model.fits(side)]
    assert len(fitting) > 4
    for side in fitting:
        for meeting in model.meetings(side):
            assert meeting.holds and meeting.apart == 0, (side, meeting)
    places = [meeting.where for meeting in model.meetings(fitting[0])]
    assert len(places) == 2 * depth + 3 and {"hook", "high", "low", "low decoder, stride 1"} <= set(places)
    side = fitting[1]
    shapes(model, side)
    assert fitting[2] - side > 1
    for bad in (side - 1, side + 1):
        near = rf"{fitting[0]} or {side}\." if bad < side else rf"{side} or {fitting[2]}\."
        with pytest.raises(UserError, match=near):
            model(*torch.zeros(2, 1, 3, bad, bad))


def test_sizes_that_pool_evenly_but_hook_unevenly_are_refused():
    """268: every pooling and skip is even, the bottleneck has 9 cells; 252 and 284 have 8 and 10."""
    assert branch_sides(HookNetConfig(padding="valid"), 268) is not None
    with pytest.raises(UserError, match="252 or 284"):
        hooknet()(*torch.zeros(2, 1, 3, 268, 268))


@pytest.mark.parametrize("shape", [(284, 252), (252, 284)])
def test_views_must_be_square_and_alike(shape):
    model = hooknet()
    with pytest.raises(UserError, match="square views"):
        model(torch.zeros(1, 3, *shape), torch.zeros(1, 3, *shape))
    with pytest.raises(UserError, match="square views"):
        model(torch.zeros(1, 3, 284, 284), torch.zeros(1, 3, 252, 252))


@pytest.mark.parametrize(("ratio", "depth", "names"), [(8, 2, "2, 4"), (3, 4, "2, 4, 8, 16"), (1, 3, "2, 4, 8")])
def test_ratios_without_a_map_to_hook(ratio, depth, names):
    with pytest.raises(UserError, match=rf"one of {names}\."):
        hooknet(ratio, depth=depth)


def made_linear(model):
    """Every convolution an average, no norms; max-pooling, which lies on the same grid, as an average."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        if getattr(module, "has_se", False):
            module.has_se = False
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d | nn.ReLU):
                setattr(module, name, nn.Identity())
            if isinstance(child, nn.MaxPool2d):
                setattr(module, name, nn.AvgPool2d(2))
    return model.double().eval()


def seen_from(model, head, side, place):
    """View -> centroid (rows, columns; px from its centre) of the gradient of the logits of `head` at a pixel from their centre."""
    views = [torch.zeros(1, 3, side, side, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    logits = model(*views)[head]
    middle = logits.shape[-1] // 2
    rows = torch.autograd.grad(logits[0, 0, middle + place[0], middle + place[1]], views, allow_unused=True)
    at = torch.arange(side, dtype=torch.float64) + 0.5 - side / 2
    found = {}
    for view, row in zip(("high", "low"), rows, strict=True):
        if row is None:
            continue
        weight = row[0].sum(0)
        assert float(weight.min()) >= 0 and float(weight.sum()) > 0
        found[view] = [float((weight.sum(axis) * at).sum() / weight.sum()) for axis in (1, 0)]
    return found


@pytest.mark.parametrize("place", [(0, 0), (-1, -1), (5, -9)])
@pytest.mark.parametrize(("padding", "side"), [("valid", 284), ("same", 256)])
@pytest.mark.parametrize("ratio", [2, 4, 8, 16])
def test_a_pixel_looks_where_it_lies(ratio, padding, side, place):
    """Within half a cell of the branch's bottleneck, stride 16; the low view in its own px."""
    model = made_linear(hooknet(ratio, padding=padding))
    expected = [p + 0.5 for p in place]
    found = seen_from(model, "high", side, place)
    assert set(found) == {"high", "low"}
    assert max(abs(f - e) for f, e in zip(found["high"], expected, strict=True)) <= 8
    assert max(abs(f - e / ratio) for f, e in zip(found["low"], expected, strict=True)) <= 8
    alone = seen_from(model, "low", side, place)
    assert set(alone) == {"low"}
    assert max(abs(f - e) for f, e in zip(alone["low"], expected, strict=True)) <= 8


@pytest.mark.parametrize("ratio", [4, 16])
def test_the_four_centre_pixels_look_at_the_centre_exactly(ratio):
    model = made_linear(hooknet(ratio))
    around = [seen_from(model, "high", 284, place) for place in ((0, 0), (-1, 0), (0, -1), (-1, -1))]
    for view in ("high", "low"):
        mean = [sum(found[view][axis] for found in around) / 4 for axis in (0, 1)]
        assert mean == pytest.approx([0, 0], abs=1e-9)


def test_a_shifted_hook_would_be_found(monkeypatch):
    def off_centre(x_BCHW, side):
        return x_BCHW[..., x_BCHW.shape[-2] - side :, x_BCHW.shape[-1] - side :]

    model = made_linear(hooknet(4))
    monkeypatch.setattr("mlseg_dist.model.hooknet.crop", off_centre)
    assert max(map(abs, seen_from(model, "high", 284, (0, 0))["low"])) > 8


def test_target_alone_trains_the_context_branch_up_to_the_hook():
    """The paper's training: the context head has no loss of its own."""
    model = hooknet(4, padding="same").train()
    model(torch.randn(2, 3, 32, 32), torch.randn(2, 3, 32, 32))["high"].square().mean().backward()
    assert model.hook == 1
    reached = {name for name, p in model.low.named_parameters() if p.grad is not None and float(p.grad.abs().sum()) > 0}
    trained = {name for name, _ in model.low.named_parameters() if not name.startswith(("head", "ups.2", "ups.3"))}
    assert reached == {name for name in trained if not name.startswith(("stages.2", "stages.3"))}
    assert all(p.grad is not None for p in model.high.parameters())


def test_branches_share_nothing():
    model = hooknet()
    high, low = ({id(p) for p in branch.parameters()} for branch in (model.high, model.low))
    assert not high & low and len(high) == len(low)


@pytest.mark.parametrize("view", ["high", "low"])
def test_deeplab_sees_one_view_only(view):
    torch.manual_seed(0)
    model = DeepLab(ModelConfig(kind="deeplab", view=view, encoder=SMALL)).eval()
    x, y, z = torch.randn(3, 1, 3, 96, 96)
    with torch.no_grad():
        first, second = (model(x, other) if view == "high" else model(other, x) for other in (y, z))
    assert list(first) == [view] and torch.equal(first[view], second[view])
    assert first[view].shape == (1, 3, 96, 96) and first[view].dtype == torch.float32


def test_deeplab_trains_on_a_batch_of_one():
    """The view's mean is one value a channel: a norm there would refuse."""
    model = DeepLab(ModelConfig(kind="deeplab", encoder=SMALL)).train()
    model(*torch.randn(2, 1, 3, 64, 64))["high"].square().mean().backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in model.parameters())


def test_deeplab_has_the_published_pyramid():
    model = DeepLab(ModelConfig(kind="deeplab"))
    dilated = [m.dilation[0] for m in model.pyramid.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert tuple(dilated) == DILATIONS == (6, 12, 18)
    assert model.pyramid.join[0].in_channels == 5 * 256 and model.encoder.channels[-1] == 160
    assert model.fits(512) and not model.fits(520)


def test_deeplab_is_aligned():
    model = DeepLab(ModelConfig(kind="deeplab", encoder=SMALL))
    for meeting in model.meetings(512):
        assert meeting.holds and meeting.apart == 0, meeting
    # Without the mean, which looks at all of the view, and at a place whose widest branch stays inside of it.
    model.pyramid.view = nn.Sequential(model.pyramid.view, nn.Threshold(1e9, 0.0))
    linear = made_linear(model)
    for place in ((0, 0), (-5, 6)):
        found = seen_from(linear, "high", 768, place)["high"]
        assert max(abs(f - p - 0.5) for f, p in zip(found, place, strict=True)) < 0.01
