"""The m-UNet (SPEC §2): a high and a low U-Net, one hook from the low decoder into the high bottleneck, three heads.

Level ratio r (low µm/px over high µm/px) and high bottleneck stride 16: the low decoder's map at stride 4 is the one
whose centre 1/r lies cell by cell on the high bottleneck for r = 4; in general the map at stride 16 / r.
"""

import torch
import torch.nn.functional as F
from torch import nn

from mlseg_core.errors import UserError
from mlseg_dist.config import CLASSES, ModelConfig
from mlseg_dist.model.encoder import STRIDES, Encoder, conv_block
from mlseg_dist.model.unet import Decoder

HIGH_STRIDE = 16
"""Stride of the high encoder's last map (the paper's second-last block)."""


class Compress(nn.Module):
    """The whole low field onto the high bottleneck's grid: space-to-depth x2, 1x1 convolution, norm, act; log2(r) times."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int, bn_momentum: float) -> None:
        super().__init__()
        steps: list[nn.Module] = []
        width = in_channels
        while ratio > 1:
            steps += [nn.PixelUnshuffle(2), conv_block(4 * width, out_channels, 1, bn_momentum)]
            width, ratio = out_channels, ratio // 2
        self.steps = nn.Sequential(*steps)

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return self.steps(low)


class Crop(nn.Module):
    """The centre of the low map, where the high view lies (as HookNet), then a 1x1 convolution."""

    def __init__(self, in_channels: int, out_channels: int, ratio: int, bn_momentum: float) -> None:
        super().__init__()
        self.ratio = ratio
        self.project = conv_block(in_channels, out_channels, 1, bn_momentum)

    def forward(self, low: torch.Tensor) -> torch.Tensor:
        return self.project(centre(low, self.ratio))


def centre(x: torch.Tensor, ratio: int) -> torch.Tensor:
    """The centre 1/ratio of a map, (B, C, H / ratio, W / ratio)."""
    height, width = x.shape[-2] // ratio, x.shape[-1] // ratio
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


MERGES: dict[str, tuple[type[Compress] | type[Crop], ...]] = {
    "compress": (Compress,),
    "crop": (Crop,),
    "both": (Compress, Crop),
}


class Merge(nn.Module):
    """Low map(s) onto the high bottleneck, concatenated, then two 1x1 convolutions (figure 10)."""

    def __init__(self, config: ModelConfig, low: int, high: int, ratio: int, bn_momentum: float) -> None:
        super().__init__()
        out = config.merge_channels
        kinds = MERGES[config.merge]
        self.paths = nn.ModuleList(kind(low, out, ratio, bn_momentum) for kind in kinds)
        self.mix = nn.Sequential(
            conv_block(high + out * len(kinds), high, 1, bn_momentum), conv_block(high, high, 1, bn_momentum)
        )

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        return self.mix(torch.cat([high, *(path(low) for path in self.paths)], dim=1))


class MUNet(nn.Module):
    """Two encoders, two decoders; heads `high` and `low` on their own grids and `merged` on the high grid."""

    def __init__(self, config: ModelConfig, ratio: int = 4, bn_momentum: float = 0.1) -> None:
        super().__init__()
        if ratio not in (2, 4, 8, 16):
            raise UserError(
                f"no m-UNet for a level ratio of {ratio}", "model", "low_mpp / high_mpp must be 2, 4, 8 or 16."
            )
        self.ratio = ratio
        self.stride = 32
        self.low_encoder = Encoder(config.encoder, STRIDES[-1], bn_momentum)
        self.high_encoder = Encoder(config.encoder, HIGH_STRIDE, bn_momentum)
        low, high = self.low_encoder.channels, self.high_encoder.channels
        self.low_decoder = Decoder(low[-1], low[:-1], config.decoder_channels, bn_momentum)
        self.high_decoder = Decoder(high[-1], high[:-1], config.decoder_channels[1:], bn_momentum)
        self._hook = ratio.bit_length() - 1  # the decoder's stages have strides 16, 8, 4, 2, 1: this one 16 / ratio
        self.merge = Merge(config, config.decoder_channels[self._hook], high[-1], ratio, bn_momentum)
        classes, last = len(CLASSES), config.decoder_channels[-1]
        self.high_head = nn.Conv2d(last, classes, 1)
        self.low_head = nn.Conv2d(last, classes, 1)
        self.merged_head = nn.Sequential(
            nn.Conv2d(2 * classes, 4 * classes, 1), nn.SiLU(inplace=True), nn.Conv2d(4 * classes, classes, 1)
        )

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views (B, 3, S, S) -> float32 logits (B, 3, S, S) of heads high, low (low grid) and merged (high grid)."""
        low_maps = self.low_encoder(low_BCHW)
        low_stages = self.low_decoder(low_maps[-1], low_maps[:-1])
        high_maps = self.high_encoder(high_BCHW)
        bottleneck = self.merge(high_maps[-1], low_stages[self._hook])
        high_logits = self.high_head(self.high_decoder(bottleneck, high_maps[:-1])[-1])
        low_logits = self.low_head(low_stages[-1])
        seen_by_low = F.interpolate(
            centre(low_logits, self.ratio), scale_factor=float(self.ratio), mode="bilinear", align_corners=False
        )
        merged = self.merged_head(torch.cat([high_logits, seen_by_low], dim=1))
        return {"merged": merged.float(), "high": high_logits.float(), "low": low_logits.float()}
