"""The single-view base network."""

import torch
from torch import nn

from mlseg_dist.config import CLASSES, ModelConfig
from mlseg_dist.model.blocks import upsample
from mlseg_dist.model.decoder import Decoder
from mlseg_dist.model.encoder import STRIDES, Encoder
from mlseg_dist.model.grid import Grid, Meeting


class UNet(nn.Module):
    """One encoder, one decoder, one head on the grid of its view."""

    def __init__(self, config: ModelConfig, bn_momentum: float = 0.1) -> None:
        super().__init__()
        self.view, self.last = config.view, config.decoder.stride
        self.encoder = Encoder(config.encoder, STRIDES[-1], bn_momentum)
        channels = self.encoder.channels
        self.decoder = Decoder(config.decoder, channels[-1], channels[:-1], self.last, bn_momentum)
        self.head = nn.Conv2d(self.decoder.channels[-1], len(CLASSES), 1)

    def forward(self, high_BCHW: torch.Tensor, low_BCHW: torch.Tensor) -> dict[str, torch.Tensor]:
        """Views (B, 3, H, W) -> {head: float32 logits (B, 3, H, W)}; head `high` or `low`, the view it sees."""
        maps = self.encoder(high_BCHW if self.view == "high" else low_BCHW)
        logits = self.head(self.decoder(maps[-1], maps[:-1])[self.last])
        return {self.view: upsample(logits, self.last).float()}

    def meetings(self, side: int) -> list[Meeting]:
        """Where paths meet, and where the head's logits meet the view's pixels; px of its view."""
        grids = self.encoder.grids(Grid())
        stages, met = self.decoder.grids(grids[-1], grids[:-1])
        found = [
            Meeting(f"decoder, stride {stride}", {name: grid.from_centre(side, 1) for name, grid in paths.items()})
            for stride, paths in met.items()
        ]
        out = stages[self.last].upsampled(self.last)
        return [*found, Meeting(self.view, {"logits": out.from_centre(side, 1), "pixels": Grid().from_centre(side, 1)})]
