"""Alignment proof: grids computed from layers agree in µm where paths meet; impulse responses confirm them.

Impulse responses: norms and squeeze-excite as identity, constant weights, Jacobian at zero, one path at a time.
"""

from contextlib import contextmanager

import pytest
import torch
from monai.networks.nets.efficientnet import EfficientNet, MBConvBlock
from torch import nn

from mlseg_dist.config import DecoderConfig, EncoderConfig, ModelConfig
from mlseg_dist.model import build_model
from mlseg_dist.model.blocks import upsample
from mlseg_dist.model.encoder import STRIDES, Encoder
from mlseg_dist.model.grid import Grid, after
from mlseg_dist.model.merge import Compress, Crop
from mlseg_dist.sides import fits

SMALL = EncoderConfig(name="custom", width=0.2, depth=0.2, drop_connect=0.0)
RATIOS = (2, 4, 8, 16)
MODES = ("compress", "crop", "both")
KINDS = ("plain", "separable", "light")
SIDE = 384


def config(**changes):
    settings = {"kind": "plain", "stride": 1, "channels": (4, 4, 4, 4, 4)} | changes.pop("decoder", {})
    decoder = DecoderConfig.model_validate(settings)
    return ModelConfig(encoder=SMALL, decoder=decoder, merge_channels=4, **changes)


def network(ratio=4, **changes):
    return build_model(config(**changes), ratio, seed=1)


def made_linear(model):
    """Every convolution an average, nothing that depends on the values."""
    model = model.double().eval()
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.constant_(module.weight, 1 / module.weight[0].numel())
        if isinstance(module, MBConvBlock):
            module.has_se = False
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return model


@contextmanager
def only(model, high=None, low=None, hook=False, seen=False):
    """Let through one map of each encoder (None: none), the hook's crop or not, the low logits into `merged` or not."""

    def keep(wanted):
        return lambda module, inputs, maps: [m if n == wanted else m * 0 for n, m in enumerate(maps)]

    def silence(module, inputs, out):
        return out * 0

    handles = [
        model.high_encoder.register_forward_hook(keep(high)),
        model.low_encoder.register_forward_hook(keep(low)),
    ]
    handles += [m.register_forward_hook(silence) for m in model.modules() if isinstance(m, Compress)]
    if not hook:
        handles += [m.register_forward_hook(silence) for m in model.modules() if isinstance(m, Crop)]
    if not seen:
        handles.append(model.low_head.register_forward_hook(silence))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def centre_of_response(model, head, view, place):
    """Where in `view` (px from its centre) the logits of `head` at pixel `place` look: centroid of the Jacobian's row."""
    views = {name: torch.zeros(1, 3, SIDE, SIDE, dtype=torch.float64, requires_grad=True) for name in ("high", "low")}
    logits = model(views["high"], views["low"])[head]
    (row,) = torch.autograd.grad(logits[0, 0, place[0], place[1]], views[view], allow_unused=True)
    weight = row[0].sum(0)
    assert float(weight.min()) >= 0 and float(weight.sum()) > 0
    at = torch.arange(SIDE, dtype=torch.float64) + 0.5 - SIDE / 2
    return (float((weight.sum(1) * at).sum() / weight.sum()), float((weight.sum(0) * at).sum() / weight.sum()))


def expected(place):
    return tuple(p + 0.5 - SIDE / 2 for p in place)


def off(found, wanted):
    return max(abs(f - w) for f, w in zip(found, wanted, strict=True))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("merge", MODES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stride", [1, 2, 4])
def test_paths_meet_within_half_a_cell(ratio, merge, kind, stride):
    settings = {"merge": merge, "decoder": {"kind": kind, "stride": stride}}
    side = next(s for s in range(224, 640) if fits(config(**settings), ratio, s))
    for meeting in network(ratio, **settings).meetings(side):
        assert meeting.holds, meeting
        if meeting.where.startswith(
            "hook"
        ):  # a low pixel is an area: its centre lies (ratio - 1) / 2 high px off its corner
            assert meeting.apart == (ratio - 1) / 2 and 2 * meeting.apart < 16
        else:
            assert meeting.apart == 0, meeting


def test_meetings_name_every_place():
    places = [meeting.where for meeting in network(merge="both", hooks=(16, 8)).meetings(SIDE)]
    assert {"low decoder, stride 16", "high decoder, stride 1", "hook, stride 16", "hook, stride 8"} <= set(places)
    assert {"high", "low", "merged"} <= set(places) and len(places) == len(set(places))


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("place", [(192, 192), (187, 198)])
def test_impulses_of_every_head_and_map(ratio, place):
    model = made_linear(network(ratio, merge="crop"))
    for number in range(4):
        with only(model, high=number):
            for head in ("high", "merged"):
                assert off(centre_of_response(model, head, "high", place), expected(place)) < 0.01
    for number, stride in enumerate(STRIDES):
        with only(model, low=number, seen=True):
            assert off(centre_of_response(model, "low", "low", place), expected(place)) < 0.01
            found = centre_of_response(model, "merged", "low", place)
            assert off([ratio * f for f in found], expected(place)) < 0.01, stride


@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("merge", ["crop", "both"])
@pytest.mark.parametrize("kind", KINDS)
def test_impulses_through_the_hook(ratio, merge, kind):
    """Low view -> low decoder -> crop -> high bottleneck -> head `high`: within half a cell of the low view's coarsest map."""
    model = made_linear(network(ratio, merge=merge, decoder={"kind": kind}))
    place = (192, 192)
    last = STRIDES.index(max(2, 16 // ratio))
    for number in range(last, len(STRIDES)):
        with only(model, low=number, hook=True):
            for head in ("high", "merged"):
                found = [ratio * f for f in centre_of_response(model, head, "low", place)]
                shift = off(found, expected(place))
                assert shift <= ratio * STRIDES[number] / 2
                assert shift <= (ratio - 1) / 2 + 0.01


def test_finer_hooks_are_aligned_too():
    model = made_linear(network(4, merge="crop", hooks=(16, 8, 4)))
    with only(model, low=2, hook=True):
        found = [4 * f for f in centre_of_response(model, "high", "low", (192, 192))]
    assert off(found, expected((192, 192))) <= 1.51


@pytest.mark.parametrize("stride", [2, 4])
def test_impulses_where_the_decoder_ends_early(stride):
    model = made_linear(network(4, merge="crop", decoder={"kind": "light", "stride": stride}))
    for place in ((192, 192), (189, 194)):
        with only(model, high=3):
            assert off(centre_of_response(model, "merged", "high", place), expected(place)) < 0.01
        with only(model, low=4, seen=True):
            found = [4 * f for f in centre_of_response(model, "merged", "low", place)]
            assert off(found, expected(place)) < 0.01


def test_monais_own_padding_shifts_maps_and_ours_does_not():
    """The law that the encoder's change rests on: (s - 1) px to the right of ours at stride s."""
    published = EfficientNet(
        blocks_args_str=["r1_k3_s11_e1_i32_o16_se0.25", "r2_k3_s22_e6_i16_o24_se0.25"], num_classes=1
    )
    grid = after([published._conv_stem_padding, published._conv_stem, *published._blocks], Grid())
    assert (grid.stride, grid.origin) == (4, 0.5 + 3)
    assert [(g.stride, g.origin) for g in Encoder(SMALL).grids(Grid())] == [(s, 0.5) for s in STRIDES]


def test_a_wrong_shift_would_be_found():
    """align_corners=False in the decoder, as others have it, moves the deep maps by half a cell of the skip's stride."""
    model = network(merge="crop")
    grid = model.low_encoder.grids(Grid())[-1]
    assert abs(grid.resampled(2).origin - grid.upsampled(2).origin) == grid.stride / 4


def test_upsample_keeps_cells_and_is_linear_between():
    x = torch.arange(12.0).reshape(1, 1, 3, 4)
    for factor in (2, 4):
        y = upsample(x, factor)
        assert y.shape == (1, 1, 3 * factor, 4 * factor)
        assert torch.equal(y[..., ::factor, ::factor], x)
        assert torch.allclose(y[0, 0, 0, : 3 * factor], torch.arange(3 * factor) / factor)
        assert torch.equal(y[0, 0, :, -1], y[0, 0, :, -factor])
