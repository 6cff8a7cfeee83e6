"""A finished generator as a function: stored views in, styled views out, and how much of their structure was kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.device import device_for, settle_gpu
from mlseg_dist.style import losses
from mlseg_dist.style.config import StyleConfig
from mlseg_dist.style.network import VIEWS, Generator, Noise
from mlseg_dist.style.pairs import StylePair, generator_folder
from mlseg_dist.style.patches import signed
from mlseg_dist.style.train import WEIGHTS, drawn_style, record


def generator_record(out: Path, pair: StylePair) -> dict[str, Any]:
    """generator.json of a pair. Raises UserError when it has no finished generator."""
    found = record(generator_folder(out, pair))
    if found is None:
        folder = generator_folder(out, pair)
        raise UserError(
            f"no generator {pair.source} -> {pair.target} yet", folder, "Make it: mlseg style train CONFIG."
        )
    return found


class Stylist:
    """Latent and noise of a sample follow from (seed, pair, key), whichever batch it is in. Raises UserError."""

    def __init__(self, out: Path, pair: StylePair, seed: int, bf16: bool) -> None:
        self.pair, self.seed, self.bf16, self.device = pair, seed, bf16, device_for(share=True)
        settle_gpu(self.device, deterministic=True)
        self.record, path = generator_record(out, pair), generator_folder(out, pair) / WEIGHTS
        if not path.exists() or sha256_file(path) != self.record["sha256"]:
            raise UserError(
                "the generator's weights are missing or damaged", path, "Move its folder away, train again."
            )
        config = StyleConfig.model_validate_json(json.dumps(self.record["network"]))
        self.model = Generator(config, 0).to(self.device).eval()
        self.model.load_state_dict(torch.load(path, weights_only=True, map_location=self.device))

    @torch.inference_mode()
    def style(
        self, high: torch.Tensor, low: torch.Tensor, keys: Sequence[str], variant: int = 0
    ) -> dict[str, torch.Tensor]:
        """high, low: uint8 (B, S, S, 3). Returns both so, on the device, and their SSIM, float32 (B,), as `high ssim`, `low ssim`.

        variant: another latent and other noise for the same keys; 0 is what shards hold.
        """
        drawn = [drawn_style(self.seed, self.pair, self.model.latent, "apply", key, variant) for key in keys]
        z = torch.stack([one for one, _ in drawn]).to(self.device, non_blocking=True)
        seeds, out = [seed for _, seed in drawn], {}
        for number, (name, image) in enumerate(zip(VIEWS, (high, low), strict=True)):
            seen = signed(image, self.device)
            view = torch.full((len(keys),), number, device=self.device)
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                made = self.model(seen, z, view, Noise(seeds, [name] * len(keys)))
            made = made.float().clamp(-1, 1)
            out[name] = ((made + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()
            out[f"{name} ssim"] = losses.ssim(seen, made)
        return out
