"""The generator, which keeps the image's grid, and its discriminator.

StyleGAN's two sources of randomness (Karras 2019, 2020): a mapping network turns a latent into weights' modulation of
every block behind the stem, and every such block adds noise at a learnt strength; convolutions that only change the grid, and the
last one, to colours, have neither. The generator is an encoder-decoder, since its input is a patch, not a constant; it answers
with what to add to the patch, at first nothing.

High and low views go through the same weights. What a scanner does to colour is the same at both magnifications, and weights
of their own would be free to disagree about it; texture is not, so each view adds a learnt vector to the latent's.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from mlseg_core.randomness import integer_seed
from mlseg_dist.augment import bank
from mlseg_dist.style.config import StyleConfig

VIEWS = ("high", "low")
STRIDE = 4
"""Sides of images are multiples of it."""
_SLOPE = 0.2


class Modulated(nn.Module):
    """3x3 convolution with modulated, demodulated weights (Karras 2020), noise, leaky ReLU.

    Inputs are scaled before and outputs after the convolution, which is the same as scaling its weights for each sample.
    """

    def __init__(self, channels: int, out: int, latent: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, 3, 3) / math.sqrt(9 * channels))
        self.bias = nn.Parameter(torch.zeros(out))
        self.strength = nn.Parameter(torch.full((out,), 0.05))
        self.affine = nn.Linear(latent, channels)
        nn.init.normal_(self.affine.weight, std=1 / math.sqrt(latent))
        nn.init.ones_(self.affine.bias)

    def forward(self, x: torch.Tensor, w: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """x (B, C, H, W), w (B, latent), noise (B, 1, H, W)."""
        scale = self.affine(w)
        energy = self.weight.float().square().sum((2, 3))  # (out, C); no matrix product below: autocast would round it
        after = torch.rsqrt((scale.float().square()[:, None] * energy).sum(2) + 1e-8)
        x = F.conv2d(x * scale[:, :, None, None], self.weight, padding=1)
        x = x * after[:, :, None, None].to(x.dtype) + noise * self.strength[:, None, None]
        return F.leaky_relu(x + self.bias[:, None, None], _SLOPE) * math.sqrt(2)


class Generator(nn.Module):
    """Patches of one style -> of another, on the same grid. seed: of the first weights."""

    def __init__(self, config: StyleConfig, seed: int) -> None:
        super().__init__()
        fine, middle, deep = config.channels
        self.latent = config.latent
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(integer_seed(seed, "generator"))
            self.mapping = nn.Sequential(
                *(part for _ in range(3) for part in (nn.Linear(self.latent, self.latent), nn.LeakyReLU(_SLOPE)))
            )
            for part in self.mapping:
                if isinstance(
                    part, nn.Linear
                ):  # so that w has the latent's size, and a latent changes much from the start
                    nn.init.kaiming_normal_(part.weight, _SLOPE)
                    nn.init.zeros_(part.bias)
            self.view = nn.Embedding(len(VIEWS), self.latent)
            nn.init.normal_(self.view.weight, std=0.1)
            self.stem = nn.Conv2d(3, fine, 3, padding=1)
            self.down = nn.ModuleList(
                [nn.Conv2d(fine, middle, 4, 2, padding=1), nn.Conv2d(middle, deep, 4, 2, padding=1)]
            )
            self.blocks = nn.ModuleList(Modulated(deep, deep, self.latent) for _ in range(config.blocks))
            self.up = nn.ModuleList(
                [Modulated(deep + middle, middle, self.latent), Modulated(middle + fine, fine, self.latent)]
            )
            self.colour = nn.Conv2d(fine + 3, 3, 1)
            nn.init.normal_(self.colour.weight, std=1e-3)
            assert self.colour.bias is not None
            nn.init.zeros_(self.colour.bias)

    def forward(self, image: torch.Tensor, z: torch.Tensor, view: torch.Tensor, noise: "Noise") -> torch.Tensor:
        """image (B, 3, H, W) in [-1, 1], z (B, latent), view int64 (B,) -> (B, 3, H, W), not cut to [-1, 1]."""
        w = self.mapping(F.normalize(z, dim=1) * math.sqrt(self.latent)) + self.view(view)
        fine = F.leaky_relu(self.stem(image), _SLOPE)
        middle = F.leaky_relu(self.down[0](fine), _SLOPE)
        x = F.leaky_relu(self.down[1](middle), _SLOPE)
        for number, block in enumerate(self.blocks):
            x = (x + block(x, w, noise.map(x, number))) * math.sqrt(0.5)
        for number, (up, skip) in enumerate(zip(self.up, (middle, fine), strict=True)):
            x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
            x = up(torch.cat([x, skip.to(x.dtype)], 1), w, noise.map(x, len(self.blocks) + number))
        return image + self.colour(torch.cat([x, image.to(x.dtype)], 1)).float()


class Noise:
    """Standard normals for every layer, from each sample's seed: windows of a constant bank. views: `high` or `low` of each."""

    def __init__(self, seeds: list[int], views: list[str]) -> None:
        self._of = list(zip(seeds, views, strict=True))

    def map(self, like: torch.Tensor, layer: int) -> torch.Tensor:
        """(B, 1, H, W) for a layer whose maps have the size of `like`."""
        shape = tuple(like.shape[2:])
        windows = [bank.window(bank.normals(), shape, seed + 7919 * layer, view) for seed, view in self._of]
        drawn = torch.stack([torch.from_numpy(window.copy()) for window in windows])[:, None]
        return (drawn.to(like.device, non_blocking=True).to(like.dtype) - 128) / bank.NORMAL_STEP


class Discriminator(nn.Module):
    """Patches -> logits of being the target's own, one for each cell of a coarse grid; an answer of its own for each view.

    It sees how much a batch's maps differ (Karras 2018), so that a generator that ignores its latent is found out.
    """

    def __init__(self, config: StyleConfig, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(integer_seed(seed, "discriminator"))
            layers: list[nn.Module] = [nn.Conv2d(3, config.critic_channels[0], 3, padding=1), nn.LeakyReLU(_SLOPE)]
            for before, after in zip(config.critic_channels, config.critic_channels[1:], strict=False):
                layers += [nn.Conv2d(before, after, 4, 2, padding=1), nn.LeakyReLU(_SLOPE)]
            self.layers = nn.Sequential(*layers)
            for part in self.layers:
                if isinstance(part, nn.Conv2d):
                    nn.init.kaiming_normal_(part.weight, _SLOPE)
            self.answer = nn.Conv2d(config.critic_channels[-1] + 1, len(VIEWS), 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """image (2B, 3, H, W) in [-1, 1], first B high views, then B low ones -> float32 (2B, h, w)."""
        maps = self.layers(image)
        of_view = maps.unflatten(0, (len(VIEWS), -1)).float()
        spread = (of_view.var(1, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))  # (2,)
        spread = spread.repeat_interleave(of_view.shape[1])[:, None, None, None]
        maps = torch.cat([maps, spread.to(maps.dtype).expand(-1, 1, *maps.shape[2:])], 1)
        high, low = self.answer(maps).float().unflatten(0, (len(VIEWS), -1))
        return torch.cat([high[:, 0], low[:, 1]])
