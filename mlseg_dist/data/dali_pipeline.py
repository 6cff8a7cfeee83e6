"""A DALI pipeline that is fed batch by batch, in our order; some batches are under way while one is used."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from mlseg_core.errors import UserError

Fed = Mapping[str, Sequence[Any]]
"""Name of an external source -> what it gets, one a sample."""
_INSTALL = "Install the extra cuda12 or cuda13 (pip install 'mlseg-tissue[cuda12]'), or set {}=cpu."


def check_dali(key: str, device_id: int | None) -> None:
    """Raises UserError where DALI is not installed, or there is no GPU. key: that asks for it. device_id None: tests, on a CPU."""
    try:
        import nvidia.dali  # noqa: F401
    except ImportError as error:
        raise UserError("NVIDIA DALI is not installed", key, _INSTALL.format(key)) from error
    if device_id is not None and not torch.cuda.is_available():
        raise UserError("there is no CUDA device", f"{key}: gpu", f"Set {key}=cpu.")


class FedPipeline:
    """pipeline: built, its outputs all of one size in a batch.  ahead: batches under way, its prefetch_queue_depth.

    first: a full batch that does no harm: takes the memory, finds what is missing.
    """

    def __init__(self, pipeline: Any, ahead: int, device: torch.device, first: Fed) -> None:
        self.ahead, self.under_way = ahead, 0
        self._pipeline, self._device = pipeline, device
        for _ in range(ahead):  # DALI's first call runs all that may be under way
            self._give(first)
        pipeline.schedule_run()
        for _ in range(ahead):
            self._take()

    def feed(self, fed: Fed) -> None:
        """Starts a batch; at most `ahead` may be under way."""
        if self.under_way == self.ahead:
            raise ValueError(f"{self.under_way} of {self.ahead} batches are under way")
        self._give(fed)
        self._pipeline.schedule_run()
        self.under_way += 1

    def collect(self) -> list[torch.Tensor]:
        """The oldest batch under way: uint8 tensors on the device, one an output, samples first."""
        self.under_way -= 1
        return self._take()

    def drop(self) -> None:
        """Forgets what is under way."""
        while self.under_way:
            self.collect()

    def _give(self, fed: Fed) -> None:
        for name, samples in fed.items():
            self._pipeline.feed_input(name, samples)

    def _take(self) -> list[torch.Tensor]:
        from nvidia.dali.plugin.pytorch import feed_ndarray

        made = []
        for out in self._pipeline.share_outputs():
            whole = out.as_tensor()
            made.append(torch.empty(tuple(whole.shape()), dtype=torch.uint8, device=self._device))
            stream = torch.cuda.current_stream(self._device) if self._device.type == "cuda" else None
            feed_ndarray(whole, made[-1], cuda_stream=stream)
        self._pipeline.release_outputs()
        return made
