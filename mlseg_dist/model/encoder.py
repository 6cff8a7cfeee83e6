"""EfficientNet features (MONAI's blocks, random weights).

MONAI's `same` padding is asymmetric at even sizes (one pixel more on the right and bottom), so cell i of a map at
stride s is centred on input px s*i + (s - 1)/2, as if the map were drawn over the image: every stage shifts alike.
"""

import torch
from monai.networks.nets.efficientnet import EfficientNet, efficientnet_params
from torch import nn

from mlseg_dist.config import EncoderConfig

STRIDES = (2, 4, 8, 16, 32)
_BLOCKS = (
    "r1_k3_s11_e1_i32_o16_se0.25",
    "r2_k3_s22_e6_i16_o24_se0.25",
    "r2_k5_s22_e6_i24_o40_se0.25",
    "r3_k3_s22_e6_i40_o80_se0.25",
    "r3_k5_s11_e6_i80_o112_se0.25",
    "r4_k5_s22_e6_i112_o192_se0.25",
    "r1_k3_s11_e6_i192_o320_se0.25",
)


class Encoder(EfficientNet):
    """Maps at strides 2, 4, …, last_stride. channels: of each map."""

    def __init__(self, config: EncoderConfig, last_stride: int = 32, bn_momentum: float = 0.1) -> None:
        if config.name == "custom":
            width, depth = config.width, config.depth
        else:
            width, depth = efficientnet_params[f"efficientnet-{config.name}"][:2]
        super().__init__(
            blocks_args_str=list(_BLOCKS),
            width_coefficient=width,
            depth_coefficient=depth,
            drop_connect_rate=config.drop_connect,
            norm=("batch", {"eps": 1e-3, "momentum": bn_momentum}),
        )
        # Only features are wanted: without the classifier, and without stages beyond the last stride.
        for name in ("_conv_head", "_conv_head_padding", "_bn1", "_avg_pooling", "_dropout", "_fc"):
            delattr(self, name)
        count = STRIDES.index(last_stride) + 1
        self._ends = self.extract_stacks[:count]
        for index in reversed(range(self._ends[-1], len(self._blocks))):
            del self._blocks[index]
        self.channels = tuple(self._blocks_args[end - 1].output_filters for end in self._ends)

    def forward(self, x_BCHW: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) -> maps (B, channels[i], H / STRIDES[i], W / STRIDES[i])."""
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x_BCHW))))
        maps = []
        for number, block in enumerate(self._blocks, start=1):
            x = block(x)
            if number in self._ends:
                maps.append(x)
        return maps


def conv_block(in_channels: int, out_channels: int, kernel: int, bn_momentum: float) -> nn.Sequential:
    """Convolution, BatchNorm, SiLU; same size."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False),
        nn.BatchNorm2d(out_channels, eps=1e-3, momentum=bn_momentum),
        nn.SiLU(inplace=True),
    )
