"""Strips -> OME-TIFFs of classes and of probabilities, written while the next strips are predicted.

Both have a pyramid, their µm/px and names and colours of classes, and open in QuPath and in any TIFF reader. The same strips
give the same bytes.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import torch

from mlseg_core.files import replace_synced, temporary_beside
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.report.look import CLASS_COLOURS, PAPER
from mlseg_dist.whole_slide.grid import SlideGrid
from mlseg_dist.whole_slide.ome_pyramid import Content, OmePyramid, average, pick
from mlseg_dist.whole_slide.strips import Strip

CLASS_MAP = Content(
    "classes",
    {"class": PAPER},
    pick,
    {**{number: CLASS_COLOURS[name] for number, name in enumerate(CLASSES)}, IGNORED: PAPER},
    {**{str(number): name for number, name in enumerate(CLASSES)}, str(IGNORED): "no answer, or not of interest"},
)
"""One channel of class numbers."""
PROBABILITY_MAP = Content(
    "probabilities",
    {name: CLASS_COLOURS[name] for name in CLASSES},
    average,
    notes={"unit": "1/255 of probability", "0": "also where there is no answer: see the class map"},
)
"""A channel a class, in steps of 1/255."""


@dataclass
class MapCounts:
    """Cells of the region: how many, how many of each class, how many without an answer."""

    region: int = 0
    classes: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CLASSES, 0))
    unanswered: int = 0

    def add(self, classes: np.ndarray, region: np.ndarray) -> None:
        """classes: uint8 (h, W), IGNORED where there is no answer or no interest."""
        found = [int(np.count_nonzero(classes == number)) for number in range(len(CLASSES))]
        for name, cells in zip(CLASSES, found, strict=True):
            self.classes[name] += cells
        of_interest = int(np.count_nonzero(region))
        self.region += of_interest
        self.unanswered += of_interest - sum(found)


class MapFiles:
    """Writes both maps; leave its `with` block to finish them, by an exception to give them up.

    classes: path of a uint8 map of classes 0, 1, 2, IGNORED outside the region and where there is no answer.
    probabilities: path of a map of three uint8 channels, 0 there; None: not written. The paths are temporary ones: neither file
    is whole before the end, and nobody syncs them here.
    """

    def __init__(self, grid: SlideGrid, threshold: float, classes: Path, probabilities: Path | None) -> None:
        self.grid, self._threshold = grid, threshold
        self.counts = MapCounts()
        self._classes = OmePyramid(classes, grid.size, grid.cell_um, CLASS_MAP)
        self._probabilities = (
            OmePyramid(probabilities, grid.size, grid.cell_um, PROBABILITY_MAP) if probabilities else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        files = [file for file in (self._classes, self._probabilities) if file is not None]
        try:
            for file in files:
                file.give_up() if error is not None else file.finish()
        except BaseException:
            for file in files:
                file.give_up()
            raise

    def add(self, strip: Strip) -> tuple[np.ndarray, np.ndarray]:
        """The next strip, from the top. Raises what writing an earlier one raised (OSError).

        Returns what is written: classes (h, columns) and probabilities (h, columns, 3), uint8.
        """
        classes = strip.classes(self._threshold).cpu().numpy()
        classes[~strip.region] = IGNORED
        self.counts.add(classes, strip.region)
        self._classes.add(classes[..., None])
        levels = _in_levels(strip.probabilities)
        levels[classes == IGNORED] = 0
        if self._probabilities is not None:
            self._probabilities.add(levels)
        return classes, levels

    @property
    def overview(self) -> tuple[np.ndarray, np.ndarray]:
        """After the end: classes (h, w) and probabilities (h, w, 3) of the whole slide at a size for pictures, uint8."""
        assert self._probabilities is not None
        return self._classes.overview[..., 0], self._probabilities.overview


def _in_levels(probabilities: torch.Tensor) -> np.ndarray:
    """float (3, h, W), 0 to 1 or nan -> uint8 (h, W, 3), 0 to 255, nearest; nan becomes 0."""
    out = torch.empty((*probabilities.shape[1:], len(probabilities)), dtype=torch.uint8, device=probabilities.device)
    for number, one in enumerate(probabilities):
        out[..., number] = (one * 255 + 0.5).nan_to_num_(0.0).to(torch.uint8)
    return out.cpu().numpy()


def write_maps(
    strips: Iterable[Strip], grid: SlideGrid, threshold: float, classes: Path, probabilities: Path | None = None
) -> MapCounts:
    """Write both maps and put them in place once they are complete and synced; after an error nothing is left or replaced."""
    targets = [path for path in (classes, probabilities) if path is not None]
    temporary = [temporary_beside(path) for path in targets]
    try:
        with MapFiles(grid, threshold, temporary[0], temporary[1] if probabilities is not None else None) as files:
            for strip in strips:
                files.add(strip)
        for path, target in zip(temporary, targets, strict=True):
            replace_synced(path, target)
    finally:
        for path in temporary:
            path.unlink(missing_ok=True)
    return files.counts
