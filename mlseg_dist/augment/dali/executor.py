"""Runs a policy's graph over batches that are fed in our order; some batches are under way while one is used."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import simplejpeg
import torch

from mlseg_core.errors import UserError
from mlseg_dist.augment import bank
from mlseg_dist.augment.dali.inputs import VIEWS, Encoded, Prepared, Source, prepare, sources
from mlseg_dist.augment.dali.recipe import recipe
from mlseg_dist.augment.parameters import Parameters
from mlseg_dist.augment.policy import OpConfig


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
        self._under_way: deque[int] = deque()
        self.device = torch.device("cpu") if device_id is None else torch.device("cuda", device_id)
        self._sources = sources(self.recipe)
        self._banks = self._on_device()
        self._pipeline = self._built(device_id, threads)
        self._warm_up()

    def prepare(self, sample: Encoded) -> Prepared:
        """A sample's share of the work on the CPU. May be called from many threads."""
        return prepare(sample, self.recipe)

    def stream(self, batches: Iterable[Sequence[Prepared]]) -> Iterator[Patches]:
        """In the order given. What was fed and not asked for is dropped when the iterator is closed."""
        try:
            for batch in batches:
                if len(self._under_way) == self.ahead:
                    yield self.collect()
                self.feed(batch)
            while self._under_way:
                yield self.collect()
        finally:
            self.drop()

    def feed(self, batch: Sequence[Prepared]) -> None:
        """Starts a batch of 1 to `batch` samples; at most `ahead` may be under way."""
        if not 0 < len(batch) <= self.batch or len(self._under_way) == self.ahead:
            raise ValueError(
                f"{len(batch)} samples of {self.batch}, {len(self._under_way)} of {self.ahead} batches under way"
            )
        self._feed(batch)
        self._pipeline.schedule_run()
        self._under_way.append(len(batch))

    def collect(self) -> Patches:
        """The oldest batch under way."""
        return self._collect(self._under_way.popleft())

    def drop(self) -> None:
        """Forgets what is under way."""
        while self._under_way:
            self.collect()

    def _warm_up(self) -> None:
        """Full batches of glass: takes the memory, finds what is missing. DALI's first call runs all that may be under way."""
        size = self.recipe.store_px
        glass = simplejpeg.encode_jpeg(np.full((size, size, 3), 255, np.uint8), colorsubsampling="444")
        label = np.zeros((size, size), np.uint8)
        sample = self.prepare(Encoded(glass, glass, label, label, Parameters()))
        for _ in range(self.ahead):
            self._feed([sample] * self.batch)
        self._pipeline.schedule_run()
        for _ in range(self.ahead):
            self._collect(self.batch)

    def _feed(self, batch: Sequence[Prepared]) -> None:
        for name, source in self._sources.items():
            fed = [self._array(sample[view][name], source, VIEWS[view]) for view in (0, 1) for sample in batch]
            self._pipeline.feed_input(name, fed)

    def _array(self, value: Any, source: Source, view: str) -> Any:
        """Of a bank, the window that the seed chooses."""
        if source.place not in self._banks:
            return value
        side = self.recipe.patch_px
        return bank.window(self._banks[source.place], (side, side, _CHANNELS[source.place]), value, view)

    def _collect(self, count: int) -> Patches:
        images, labels = self._pipeline.share_outputs()
        side = self.recipe.patch_px
        image = self._tensor(images, (2 * count, side, side, 3))
        label = self._tensor(labels, (2 * count, side, side, 1))[..., 0]
        self._pipeline.release_outputs()
        return Patches(image[:count], image[count:], label[:count], label[count:])

    def _tensor(self, out: Any, shape: tuple[int, ...]) -> torch.Tensor:
        from nvidia.dali.plugin.pytorch import feed_ndarray

        tensor = torch.empty(shape, dtype=torch.uint8, device=self.device)
        stream = torch.cuda.current_stream(self.device) if self.device.type == "cuda" else None
        feed_ndarray(out.as_tensor(), tensor, cuda_stream=stream)
        return tensor

    def _built(self, device_id: int | None, threads: int) -> Any:
        try:
            from nvidia.dali import Pipeline  # noqa: F401
        except ImportError as error:
            raise UserError("NVIDIA DALI is not installed", "train.augment_on", _INSTALL) from error
        if device_id is not None and not torch.cuda.is_available():
            raise UserError("there is no CUDA device", "train.augment_on: gpu", "Set train.augment_on=cpu.")
        from mlseg_dist.augment.dali.graph import build

        return build(self.recipe, 2 * self.batch, device_id, threads, self.ahead)

    def _on_device(self) -> dict[str, Any]:
        """Banks that the graph takes windows of, each at least twice as long as a window."""
        made: dict[str, Any] = {}
        for name in {source.place for source in self._sources.values()} & _CHANNELS.keys():
            values = bank.normals() if name == "normals" else bank.uniforms()
            count = self.recipe.patch_px**2 * _CHANNELS[name]
            if count > len(values):
                values = np.resize(values, 2 * count)
            made[name] = values if self.device.type == "cpu" else torch.from_numpy(values).to(self.device)
        return made


_CHANNELS = {"normals": 3, "uniforms": 2}
_INSTALL = "Install the extra cuda12 or cuda13 (pip install 'mlseg[cuda12]'), or set train.augment_on=cpu."
