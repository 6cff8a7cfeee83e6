"""Crops that generators are trained on: a step's are a pure function of (seed, pair, step), read ahead by threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from mlseg_core.randomness import generator
from mlseg_dist.data.open_shards import OpenShards
from mlseg_dist.data.prefetch import ReadAhead, Work, batch_memory
from mlseg_dist.style.network import VIEWS
from mlseg_dist.style.pairs import StylePair
from shards.manifest import Manifest, ShardEntry
from shards.sample import decode_rgb


@dataclass(frozen=True)
class Crops:
    """high, low: uint8 (B, C, C, 3) about the same points of slides, turned and mirrored alike."""

    high: torch.Tensor
    low: torch.Tensor


class Pool:
    """Pairs of one style. Slides come equally often, whatever their size."""

    def __init__(self, folder: Path, manifest: Manifest, shards: Sequence[ShardEntry], crop_px: int) -> None:
        self._folder, self._manifest, self.crop_px = folder, manifest, crop_px
        self._open = OpenShards()
        self._slides: dict[str, list[ShardEntry]] = {}
        for shard in shards:
            self._slides.setdefault(shard.slide, []).append(shard)

    def crop(self, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """(high, low) uint8 (C, C, 3) of one pair. Raises BadShard."""
        names = list(self._slides)
        shards = self._slides[names[int(random.integers(len(names)))]]
        number = int(random.integers(sum(shard.samples for shard in shards)))
        for shard in shards:
            if number < shard.samples:
                break
            number -= shard.samples
        with self._open.using(self._folder / shard.name, self._manifest.members) as reader:
            members = reader.read(number, [f"{view}.jpg" for view in VIEWS])
        side, ratio, crop = int(self._manifest.views["store_px"]), self._manifest.ratio, self.crop_px
        reach = (side - crop) // 2 // ratio
        away = random.integers(-reach, reach + 1, 2)  # px of the low view
        turns, mirrored = int(random.integers(4)), bool(random.integers(2))
        out = []
        for view, scale in zip(VIEWS, (ratio, 1), strict=True):
            top, left = (side - crop) // 2 + away * scale
            part = decode_rgb(members[f"{view}.jpg"])[top : top + crop, left : left + crop]
            part = np.rot90(part, turns)
            out.append(np.ascontiguousarray(part[:, ::-1] if mirrored else part))
        return out[0], out[1]


class Steps:
    """source, target: of the pair. pinned: for a GPU."""

    def __init__(
        self, source: Pool, target: Pool, pair: StylePair, seed: int, batch: int, threads: int, pinned: bool = False
    ) -> None:
        self._pools, self._pair, self._seed = (source, target), pair, seed
        self._batch, self._threads, self._pinned = batch, threads, pinned

    def stream(self, first: int, last: int) -> ReadAhead[int, tuple[Crops, Crops], None]:
        """Source and target crops of the steps from `first` to `last` - 1, two steps ahead."""
        return ReadAhead(range(first, last), self._begin, self._threads, name="style")

    def _begin(self, step: int) -> Work[tuple[Crops, Crops], None]:
        source, target = (self._memory(pool.crop_px) for pool in self._pools)
        sides = ((0, source), (1, target))
        return Work(
            (source, target),
            [partial(self._one, side, step, i, crops) for side, crops in sides for i in range(self._batch)],
        )

    def _memory(self, crop_px: int) -> Crops:
        shape = (self._batch, crop_px, crop_px, 3)
        return Crops(**batch_memory(self._pinned, high=shape, low=shape))

    def _one(self, side: int, step: int, number: int, crops: Crops) -> None:
        random = generator(self._seed, "style", self._pair.name, "crop", step, side, number)
        for rows, crop in zip((crops.high, crops.low), self._pools[side].crop(random), strict=True):
            rows[number].numpy()[:] = crop


def signed(rgb: torch.Tensor, device: torch.device) -> torch.Tensor:
    """uint8 (B, H, W, 3) -> float32 (B, 3, H, W) in [-1, 1]."""
    return rgb.to(device, non_blocking=True).permute(0, 3, 1, 2).float() / 127.5 - 1
