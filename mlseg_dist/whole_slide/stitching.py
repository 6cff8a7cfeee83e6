"""Overlapping patches -> rows of a map, from top to bottom, in memory that does not depend on the slide's height.

The idea is that of MONAI's buffered sliding windows: sums are kept only for the rows that the patches at hand reach, and leave
for good once the last patch that touches them is through. Weights fall off from a patch's middle, as in nnU-Net and MONAI.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from mlseg_dist.config import CLASSES

Window = Callable[[int, int], np.ndarray]
"""patch, step -> weights of a patch's cells, float32 (patch, patch), all above 0."""
_LEAST = 1e-3
"""Weight of a patch's very edge: more than nothing, as no other patch may reach there."""


class RollingStitcher:
    """Weighted means of patches that come row by row. Lengths in cells.

    columns: of patches; patch: their side; step: between them, in both directions. Rows count from the first row of patches.
    Memory: 16 bytes for each cell of `patch` rows over the whole width.
    """

    def __init__(
        self, columns: int, patch: int, step: int, cell_px: int, device: torch.device, weights: Window | None = None
    ) -> None:
        self.patch, self.step, self._cell_px = patch, step, cell_px
        self.width = (columns - 1) * step + patch
        self._sum = torch.zeros((len(CLASSES), patch, self.width), device=device)
        self._weight = torch.zeros((patch, self.width), device=device)
        self._window = torch.from_numpy((weights or window)(patch, step)).to(device)
        self._rows_used = 0  # by the patches at hand and before: below, all is 0

    def add(self, column: int, probabilities: torch.Tensor) -> None:
        """A patch of the row at hand, float32 (3, P, P) high px. A cell for which it gives no number will have none."""
        cells = F.avg_pool2d(probabilities, self._cell_px) if self._cell_px > 1 else probabilities
        there = slice(column * self.step, column * self.step + self.patch)
        self._sum[:, :, there].addcmul_(cells, self._window)
        self._weight[:, there] += self._window
        self._rows_used = self.patch

    def rows(self, first: int, last: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(probabilities (3, h, width), answered (h, width) bool) of rows [first, last) from where the patches at hand begin.

        nan in all three where it is not answered: no patch lies there, or one that does gave no number. Made in place: ask once,
        use them before `roll`.
        """
        part = self._sum[:, first:last]
        if not self._rows_used:
            return part.fill_(torch.nan), torch.zeros(part.shape[1:], dtype=torch.bool, device=part.device)
        part /= self._weight[first:last]  # 0 / 0 is nan
        spoilt = part.sum(dim=0) * 0  # 0, or nan where one of the three is no finite number
        part += spoilt
        return part, spoilt == 0

    def roll(self) -> None:
        """On to the next row of patches; the first `step` rows are given up."""
        kept = self._rows_used = max(0, self._rows_used - self.step)
        for kind in (self._sum, self._weight):
            if kept:
                kind[..., :kept, :] = kind[..., self.step : self.step + kept, :].clone()
            kind[..., kept:, :] = 0


def window(patch: int, step: int) -> np.ndarray:
    """Weights of a patch's cells, float32 (patch, patch): 1 in its middle, a raised cosine over the overlap.

    Others were tried with the demo's teacher, Gaussians of an eighth and a quarter of the patch, linear ramps, crops and plain
    means: what a shifted grid changes differed by less than a tenth of itself. The size of the views decides
    (benchmarks/results/whole-slide-seams.md).
    """
    at = np.arange(patch) + 0.5
    overlap = max(patch - step, 1)
    line = np.sin(np.pi / 2 * np.clip(np.minimum(at, patch - at) / overlap, 0, 1)) ** 2
    return np.maximum(np.outer(line, line), _LEAST).astype(np.float32)
