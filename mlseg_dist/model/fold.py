"""BatchNorm folded into the convolutions before it, for inference: one pass over every map less."""

import copy
import itertools
from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_PAIRS = (("_conv_stem", "_bn0"), ("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2"))
"""Convolutions and their norms in MONAI's EfficientNet; elsewhere they follow each other in a Sequential."""


Net = TypeVar("Net", bound=nn.Module)


def fold_norms(model: Net) -> Net:
    """A copy in evaluation mode that gives the same answers to rounding, with no BatchNorm that follows a convolution."""
    model = copy.deepcopy(model).eval()
    for module in model.modules():
        if isinstance(module, nn.Sequential):
            names = list(module._modules)
            pairs = list(itertools.pairwise(names))
        else:
            pairs = [pair for pair in _PAIRS if hasattr(module, pair[0])]
        for conv_name, norm_name in pairs:
            conv, norm = getattr(module, conv_name), getattr(module, norm_name)
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
                setattr(module, norm_name, nn.Identity())
    return model
