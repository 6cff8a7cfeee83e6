"""Runs a policy's graph over batches that are fed in our order; some batches are under way while one is used."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
import torch

from mlseg_dist.augment import bank
from mlseg_dist.augment.dali.inputs import CHANNELS, Encoded, Prepared, prepare, sources
from mlseg_dist.augment.dali.recipe import recipe
from mlseg_dist.augment.parameters import Parameters
from mlseg_dist.augment.policy import OpConfig
from mlseg_dist.data.dali_pipeline import Fed, FedPipeline, check_dali


class Windows:
    """Keeps the banks of `places` (inputs.CHANNELS) on the device."""

    def __init__(self, places: Iterable[str], patch_px: int, device: torch.device) -> None:
        self._shapes = {place: (patch_px, patch_px, CHANNELS[place]) for place in places}
        made = {"normals": bank.normals, "uniforms": bank.uniforms}
        counts = {place: side * side * channels for place, (side, _, channels) in self._shapes.items()}
        self._banks = {
            place: torch.from_numpy(bank.long_enough(made[place](), count)).to(device)
            for place, count in counts.items()
        }

    def gather(self, place: str, begins: Sequence[int]) -> torch.Tensor | np.ndarray:
        """(windows, P, P, channels), one after the other in memory, on the current stream. begins: of bank.begin().

        An array on a CPU: a torch tensor there makes DALI ask for a CUDA stream.
        """
        shape, values = self._shapes[place], self._banks[place]
        count = shape[0] * shape[1] * shape[2]
        windows = torch.stack([values[at : at + count] for at in begins]).view(-1, *shape)
        return windows if windows.is_cuda else windows.numpy()


@dataclass(frozen=True)
class Patches:
    """Images uint8 (B, P, P, 3), labels uint8 (B, P, P), on the executor's device."""

    high: torch.Tensor
    low: torch.Tensor
    high_label: torch.Tensor
    low_label: torch.Tensor


class DaliExecutor:
    """Same contract as mlseg_dist.augment.augment, a batch at a time: a pure function of the draws.

    mpp: µm/px of `high`, `low`. batch: most samples in one. device_id: of the GPU; None runs DALI's CPU operators, for
    tests. threads: of DALI's. ahead: batches under way. Raises UserError where DALI or what it needs is not installed.
    """

    def __init__(
        self,
        policy: tuple[OpConfig, ...],
        patch_px: int,
        store_px: int,
        mpp: dict[str, float],
        batch: int,
        device_id: int | None,
        threads: int,
        ahead: int = 2,
    ) -> None:
        self.recipe = recipe(policy, mpp, store_px, patch_px)
        self.batch, self.ahead = batch, ahead
        check_dali("train.augment_on", device_id)
        self.device = torch.device("cpu") if device_id is None else torch.device("cuda", device_id)
        self._sources = sources(self.recipe)
        # Batches are fed on a stream of their own: on the caller's they would wait for the training steps that are queued there.
        self._stream = None if device_id is None else torch.cuda.Stream(self.device)
        from mlseg_dist.augment.dali.graph import build

        pipeline = build(self.recipe, 2 * self.batch, device_id, threads, ahead)
        with torch.cuda.stream(self._stream):
            places = {source.place for source in self._sources.values()} & CHANNELS.keys()
            self._windows = Windows(places, patch_px, self.device)
            self._fed = FedPipeline(pipeline, ahead, self.device, self._glass())

    def prepare(self, sample: Encoded) -> Prepared:
        """A sample's share of the work on the CPU. May be called from many threads."""
        return prepare(sample, self.recipe)

    def stream(self, batches: Iterable[Sequence[Prepared]]) -> Iterator[Patches]:
        """In the order given. What was fed and not asked for is dropped when the iterator is closed."""
        try:
            for batch in batches:
                if self._fed.under_way == self.ahead:
                    yield self.collect()
                self.feed(batch)
            while self._fed.under_way:
                yield self.collect()
        finally:
            self.drop()

    def feed(self, batch: Sequence[Prepared]) -> None:
        """Starts a batch of 1 to `batch` samples; at most `ahead` may be under way."""
        if not 0 < len(batch) <= self.batch:
            raise ValueError(f"{len(batch)} samples, not 1 to {self.batch}")
        with torch.cuda.stream(self._stream):
            self._fed.feed(self._sources_of(batch))

    def collect(self) -> Patches:
        """The oldest batch under way."""
        image, label = self._fed.collect()
        count = len(image) // 2
        return Patches(image[:count], image[count:], label[:count, ..., 0], label[count:, ..., 0])

    def drop(self) -> None:
        """Forgets what is under way."""
        self._fed.drop()

    def _glass(self) -> Fed:
        """A full batch of it."""
        size = self.recipe.store_px
        glass = simplejpeg.encode_jpeg(np.full((size, size, 3), 255, np.uint8), colorsubsampling="444")
        label = np.zeros((size, size), np.uint8)
        return self._sources_of([self.prepare(Encoded(glass, glass, label, label, Parameters()))] * self.batch)

    def _sources_of(self, batch: Sequence[Prepared]) -> Fed:
        """All high views, then all low ones."""
        views = [sample[view] for view in (0, 1) for sample in batch]
        fed: dict[str, Any] = {name: [view[name] for view in views] for name in self._sources}
        for place in CHANNELS:
            names = [name for name, source in self._sources.items() if source.place == place]
            if names:
                windows = self._windows.gather(place, [begin for name in names for begin in fed[name]])
                fed |= {name: windows[at * len(views) :][: len(views)] for at, name in enumerate(names)}
        return fed | {name: np.stack(fed[name]) for name, source in self._sources.items() if source.stacked}
