"""Windows of the noise banks, cut on the executor's device: one gather a batch and bank, however many ops want windows of it."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from mlseg_dist.augment import bank
from mlseg_dist.augment.dali.inputs import CHANNELS


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
