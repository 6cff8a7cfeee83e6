"""Overlapping patches -> rows of a map, from top to bottom, in memory that does not depend on the slide's height.

The idea is that of MONAI's buffered sliding windows: sums are kept only for the rows that the patches at hand reach, and leave
for good once the last patch that touches them is through. Weights fall off from a patch's middle, as in nnU-Net and MONAI.
"""

import numpy as np
import torch
import torch.nn.functional as F

from mlseg_dist.config import CLASSES

_LEAST = 1e-3
"""Weight of a patch's very edge: more than nothing, as no other patch may reach there."""


class RollingStitcher:
    """Weighted means of patches that come row by row. Lengths in cells.

    columns: of patches; patch: their side; step: between them, in both directions. Rows count from the first row of patches.
    Memory: 17 bytes for each cell of `patch` rows over the whole width.
    """

    def __init__(self, columns: int, patch: int, step: int, cell_px: int, device: torch.device) -> None:
        self.patch, self.step, self._cell_px = patch, step, cell_px
        self.width = (columns - 1) * step + patch
        self._sum = torch.zeros((len(CLASSES), patch, self.width), device=device)
        self._weight = torch.zeros((patch, self.width), device=device)
        self._not_finite = torch.zeros((patch, self.width), dtype=torch.bool, device=device)
        self._window = torch.from_numpy(window(patch, step)).to(device)
        self._clean = True

    def add(self, column: int, probabilities: torch.Tensor) -> torch.Tensor:
        """A patch of the row at hand, float32 (3, P, P) high px. Returns how many of its cells are not finite, on the device.

        Such cells are left out of the means and marked.
        """
        cells = F.avg_pool2d(probabilities, self._cell_px) if self._cell_px > 1 else probabilities
        wrong = ~torch.isfinite(cells).all(dim=0)
        weight = torch.where(wrong, 0.0, self._window)
        there = slice(column * self.step, column * self.step + self.patch)
        self._sum[:, :, there] += torch.where(wrong, 0.0, cells * self._window)
        self._weight[:, there] += weight
        self._not_finite[:, there] |= wrong
        self._clean = False
        return wrong.sum()

    def rows(self, first: int, last: int) -> torch.Tensor:
        """Probabilities (3, last - first, width) of rows [first, last), which count from where the patches at hand begin.

        nan where no patch lies, and where some patch gave no number. Made in place: ask once, use them before `roll`.
        """
        part = self._sum[:, first:last]
        if self._clean:
            return part.fill_(torch.nan)
        part /= self._weight[first:last]  # 0 / 0 is nan
        return part.masked_fill_(self._not_finite[first:last], torch.nan)

    def roll(self) -> None:
        """On to the next row of patches; the first `step` rows are given up."""
        kept = self.patch - self.step
        for kind in (self._sum, self._weight, self._not_finite):
            if kept and not self._clean:
                kind[..., :kept, :] = kind[..., self.step :, :].clone()
            kind[..., kept if not self._clean else 0 :, :] = 0
        self._clean = self._clean or not kept or not bool(self._weight[:kept].any())


def window(patch: int, step: int) -> np.ndarray:
    """Weights of a patch's cells, float32 (patch, patch): 1 in its middle, a raised cosine over the overlap.

    Others were tried with the demo's teacher, Gaussians of an eighth and a quarter of the patch, linear ramps, crops and plain
    means: what a shifted grid changes differed by less than a tenth of itself. The size of the views decides
    (benchmarks/results/whole-slide.md).
    """
    at = np.arange(patch) + 0.5
    overlap = max(patch - step, 1)
    line = np.sin(np.pi / 2 * np.clip(np.minimum(at, patch - at) / overlap, 0, 1)) ** 2
    return np.maximum(np.outer(line, line), _LEAST).astype(np.float32)
