"""EfficientNet features (MONAI's blocks, random weights), padded so that every map lies on the image's own grid.

MONAI pads as TensorFlow does: by a layer of its own, one px more on the right at even sizes. That copies every map once
more, and centres cell i of the map at stride s on px s * i + (s - 1). Here padding is k // 2 inside the convolution: no
copy, and cell i is centred on px s * i at every stride, so that all maps are nested (`blocks.upsample` is the way back).
"""

import torch
from monai.networks.nets.efficientnet import EfficientNet, MBConvBlock, efficientnet_params
from torch import nn

from mlseg_dist.config import EncoderConfig
from mlseg_dist.model.blocks import BN_EPS
from mlseg_dist.model.grid import Grid, after

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
            norm=("batch", {"eps": BN_EPS, "momentum": bn_momentum}),
        )
        # Only features are wanted: without the classifier, and without stages beyond the last stride.
        for name in ("_conv_head", "_conv_head_padding", "_bn1", "_avg_pooling", "_dropout", "_fc"):
            delattr(self, name)
        self._ends = self.extract_stacks[: STRIDES.index(last_stride) + 1]
        for index in reversed(range(self._ends[-1], len(self._blocks))):
            del self._blocks[index]
        self.channels = tuple(self._blocks_args[end - 1].output_filters for end in self._ends)
        self._settle()

    def forward(self, x_BCHW: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) -> maps (B, channels[i], H / STRIDES[i], W / STRIDES[i])."""
        x = self._swish(self._bn0(self._conv_stem(x_BCHW)))
        maps = []
        for number, block in enumerate(self._blocks, start=1):
            x = block(x)
            if number in self._ends:
                maps.append(x)
        return maps

    def grids(self, grid: Grid) -> list[Grid]:
        """The grids of the maps that forward() returns."""
        grid = after(self._conv_stem, grid)
        grids = []
        for number, block in enumerate(self._blocks, start=1):
            grid = after(block, grid)
            if number in self._ends:
                grids.append(grid)
        return grids

    def _settle(self) -> None:
        """Padding into the convolutions; one fused activation instead of MONAI's, whose backward takes five passes."""
        for part in (self, *(m for m in self.modules() if isinstance(m, MBConvBlock))):
            part._swish = nn.SiLU()
            for name, conv in [(n, m) for n, m in part.named_children() if isinstance(m, nn.Conv2d)]:
                conv.padding = (conv.kernel_size[0] // 2, conv.kernel_size[1] // 2)
                setattr(part, f"{name}_padding", nn.Identity())
