"""Norms folded for inference: the same answers, and none left."""

import pytest
import torch
from torch import nn

from mlseg_dist.config import DecoderConfig, EncoderConfig, HookNetConfig, ModelConfig
from mlseg_dist.model import build_model, fold_norms

SMALL = EncoderConfig(name="custom", width=0.2, depth=0.4, drop_connect=0.2)


def configs():
    for kind in ("plain", "separable", "light"):
        yield ModelConfig(encoder=SMALL, decoder=DecoderConfig(kind=kind, channels=(8, 8, 8, 8, 8)), merge="both")
    yield ModelConfig(kind="unet", encoder=SMALL)
    yield ModelConfig(kind="deeplab", encoder=SMALL)
    yield ModelConfig(kind="hooknet", hooknet=HookNetConfig(filters=4))


@pytest.mark.parametrize("config", configs(), ids=lambda c: f"{c.kind}-{c.decoder.kind}")
def test_the_same_answers_without_norms(config):
    torch.manual_seed(3)
    model = build_model(config, 4, seed=1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 2)
    views = torch.randn(2, 2, 3, 128, 128)
    model.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        want = model(*views)
        folded = fold_norms(model)
        got = folded(*views)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    for head in want:
        assert torch.allclose(got[head], want[head], rtol=1e-3, atol=1e-4 * float(want[head].std()) + 1e-6)
