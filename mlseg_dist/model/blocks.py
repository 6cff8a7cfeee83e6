"""Parts that decoders and merges are made of."""

import torch
import torch.nn.functional as F
from torch import nn

BN_EPS = 1e-3


def conv_block(
    in_channels: int, out_channels: int, kernel: int, bn_momentum: float, groups: int = 1, act: bool = True
) -> nn.Sequential:
    """Convolution, BatchNorm and, with act, SiLU; same size."""
    layers: list[nn.Module] = [
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels, eps=BN_EPS, momentum=bn_momentum),
    ]
    return nn.Sequential(*layers, nn.SiLU()) if act else nn.Sequential(*layers)


def separable_block(in_channels: int, out_channels: int, bn_momentum: float) -> nn.Sequential:
    """Depthwise 3x3 and 1x1 convolution (Chollet 2017), one norm and activation behind them; same size."""
    depthwise = nn.Conv2d(in_channels, in_channels, 3, padding=1, groups=in_channels, bias=False)
    return nn.Sequential(depthwise, *conv_block(in_channels, out_channels, 1, bn_momentum))


def upsample(x_BCHW: torch.Tensor, factor: int) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, factor H, factor W): cell i becomes cell factor * i, linear between, the last one repeated.

    Strided convolutions with padding k // 2 centre cell i of a map on cell stride * i of the finer one; this is their
    way back, so that skips meet without a shift (grid.py). align_corners=False would shift by (stride - 1) / 2 px.
    """
    if factor == 1:
        return x_BCHW
    height, width = x_BCHW.shape[-2:]
    padded = _repeat_last(x_BCHW)
    size = (factor * height + 1, factor * width + 1)
    return F.interpolate(padded, size=size, mode="bilinear", align_corners=True)[..., :-1, :-1]


def _repeat_last(x_BCHW: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) -> (B, C, H + 1, W + 1): the last column and row once more.

    Compiled training takes another way to the same values: for maps in channels_last the compiler expects other strides
    of replication_pad2d's gradient than it gets, and stops (pytorch/pytorch#179442).
    """
    if not torch.compiler.is_compiling():
        return F.pad(x_BCHW, (0, 1, 0, 1), mode="replicate")
    wider = torch.cat([x_BCHW, x_BCHW[..., -1:]], dim=-1)
    return torch.cat([wider, wider[..., -1:, :]], dim=-2)


def centre(x: torch.Tensor, ratio: int) -> torch.Tensor:
    """The centre 1/ratio of a map, (B, C, H / ratio, W / ratio)."""
    top, left = cells_before(x.shape[-2], ratio), cells_before(x.shape[-1], ratio)
    return x[..., top : top + x.shape[-2] // ratio, left : left + x.shape[-1] // ratio]


def cells_before(side: int, ratio: int) -> int:
    """Cells on one side of the centre 1/ratio of a map of `side` cells."""
    return (side - side // ratio) // 2
