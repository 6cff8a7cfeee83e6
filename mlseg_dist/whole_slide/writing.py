"""Strips -> two tiled TIFFs, written while the next strips are predicted: classes, and probabilities in steps of 1/255.

Both open in QuPath and in any TIFF reader, and say their µm/px. Nothing of them is kept in memory but the tiles at hand. The same
strips give the same bytes.
"""

import queue
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import tifffile
import torch

from mlseg_core.files import replace_synced, temporary_beside
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.whole_slide.grid import SlideGrid
from mlseg_dist.whole_slide.strips import Strip

TILE = 256
_AHEAD = 2  # bands of tiles that wait to be compressed
_BIG = 1 << 31  # bytes of pixels from which a TIFF of 32-bit offsets might not do


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
    probabilities: path of a map of three uint8 samples, 0 there; None: not written. The paths are temporary ones: neither file
    is whole before the end, and nobody syncs them here.
    """

    def __init__(self, grid: SlideGrid, threshold: float, classes: Path, probabilities: Path | None) -> None:
        self._threshold = threshold
        self.counts = MapCounts()
        self._pool = ThreadPoolExecutor(2, thread_name_prefix="maps")
        self._classes = _TiledFile(classes, grid, 1, self._pool)
        self._probabilities = _TiledFile(probabilities, grid, len(CLASSES), self._pool) if probabilities else None

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
        finally:
            self._pool.shutdown()

    def add(self, strip: Strip) -> None:
        """The next strip, from the top. Raises what writing an earlier one raised (OSError)."""
        classes = strip.classes(self._threshold).cpu().numpy()
        classes[~strip.region] = IGNORED
        self.counts.add(classes, strip.region)
        self._classes.add(classes[..., None])
        if self._probabilities is not None:
            levels = _in_levels(strip.probabilities)
            levels[classes == IGNORED] = 0
            self._probabilities.add(levels)


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


class _TiledFile:
    """A TIFF whose tiles a thread compresses and writes; rows come from the top, as many at a time as they come."""

    def __init__(self, path: Path, grid: SlideGrid, samples: int, pool: ThreadPoolExecutor) -> None:
        rows, columns = grid.size
        self._shape = (rows, columns, samples)
        self._across = -(-columns // TILE)
        self._bands: queue.Queue[np.ndarray | None] = queue.Queue(_AHEAD)
        self._band = self._fresh()
        self._filled, self._missing = 0, rows
        self._given_up = False
        self._writing = pool.submit(self._write, path, grid.cell_um)

    def add(self, rows: np.ndarray) -> None:
        """uint8 (h, W, samples)."""
        self._missing -= len(rows)
        while len(rows):
            part = rows[: TILE - self._filled]
            self._band[self._filled : self._filled + len(part), : part.shape[1]] = part
            self._filled += len(part)
            rows = rows[len(part) :]
            if self._filled == TILE:
                self._put(self._band)
                self._band, self._filled = self._fresh(), 0

    def finish(self) -> None:
        """Raises what writing raised."""
        if self._missing:
            raise AssertionError(f"{self._missing} rows of the map did not come")
        if self._filled:
            self._put(self._band)
        self._writing.result()

    def give_up(self) -> None:
        """Ends the thread; what was written stays where it is."""
        self._given_up = True
        while not self._writing.done():
            try:
                self._bands.put(None, timeout=0.05)
            except queue.Full:
                continue

    def _fresh(self) -> np.ndarray:
        return np.zeros((TILE, self._across * TILE, self._shape[2]), np.uint8)

    def _put(self, band: np.ndarray) -> None:
        while True:
            if self._writing.done():
                self._writing.result()
                raise RuntimeError("the map was finished before its last rows came")
            try:
                self._bands.put(band, timeout=0.2)
                return
            except queue.Full:
                continue

    def _tiles(self) -> Iterator[np.ndarray]:
        while (band := self._bands.get()) is not None and not self._given_up:
            for column in range(self._across):
                yield band[:, column * TILE : (column + 1) * TILE].squeeze()
        if self._given_up:
            raise _GivenUp

    def _write(self, path: Path, cell_um: float) -> None:
        rows, columns, samples = self._shape
        try:
            with tifffile.TiffWriter(path, bigtiff=rows * columns * samples > _BIG) as tiff:
                tiff.write(
                    self._tiles(),
                    shape=(rows, columns, samples) if samples > 1 else (rows, columns),
                    dtype=np.uint8,
                    tile=(TILE, TILE),
                    photometric="rgb" if samples > 1 else "minisblack",
                    compression="deflate",
                    compressionargs={"level": 1},
                    resolution=(1e4 / cell_um, 1e4 / cell_um),
                    resolutionunit="CENTIMETER",
                    software="mlseg",
                    metadata=None,
                    maxworkers=1,
                )
        except _GivenUp:
            pass


class _GivenUp(Exception):
    """The rest of the map is no longer wanted."""
