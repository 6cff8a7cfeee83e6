"""Where patches are taken: a grid inside annotations with the class at each seed, and a grid on unannotated tissue."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from mlseg_core.randomness import generator
from shards.annotation import EXCLUDED_PX, UNLABELLED, Annotation
from shards.audit.tissue import TissueMask
from shards.config import ShardsConfig


@dataclass(frozen=True)
class Seed:
    """A patch's centre as the high view's px corner (column, row), and the fine class id there, or UNLABELLED."""

    column: int
    row: int
    fine: int


@dataclass(frozen=True)
class Sampling:
    """seeds: row by row. dropped: reason -> points of the grids that give no patch."""

    seeds: list[Seed]
    dropped: dict[str, int]


def choose_seeds(
    config: ShardsConfig,
    slug: str,
    split: str,
    size: tuple[int, int],
    mpp: tuple[float, float],
    annotation: Annotation | None,
    tissue: TissueMask,
) -> Sampling:
    """Seeds of one slide of `size` (width, height) level-0 px at `mpp` (x, y) µm/px.

    Both grids lie on whole pixels of both views, so that a patch is a crop of the slide's planes (see plane.py).
    """
    dropped: Counter[str] = Counter()
    kept: list[Seed] = []
    if annotation is not None:
        grid = _Grid.of(config, config.stride_um, size, mpp)
        fine = grid.classes(annotation)
        for fine_id in np.unique(fine[fine < EXCLUDED_PX]).tolist():
            name = config.fine_classes[fine_id]
            most = config.class_caps.get(name, config.max_per_class)
            chosen = _cap(np.argwhere(fine == fine_id), most, config.seed, slug, name, dropped)
            kept += grid.seeds(chosen, fine_id)
        dropped["between annotations"] = int((fine == UNLABELLED).sum())
        dropped["excluded"] = int((fine == EXCLUDED_PX).sum())
    if config.tissue_stride_um and split == "train":
        grid = _Grid.of(config, config.tissue_stride_um, size, mpp)
        free = grid.classes(annotation) == UNLABELLED if annotation is not None else np.ones(grid.shape, bool)
        on_tissue = tissue.at(*grid.points())
        dropped["tissue grid: on glass"] = int((free & ~on_tissue).sum())
        chosen = _cap(np.argwhere(free & on_tissue), config.max_tissue, config.seed, slug, "tissue", dropped)
        kept += grid.seeds(chosen, UNLABELLED)
    kept.sort(key=lambda seed: (seed.row, seed.column))
    return Sampling(kept, {reason: count for reason, count in dropped.items() if count})


def _cap(cells: np.ndarray, most: int, seed: int, slug: str, group: str, dropped: Counter[str]) -> np.ndarray:
    """At most `most` of the cells (n, 2), in their order."""
    if len(cells) <= most:
        return cells
    dropped[f"over the cap: {group}"] += len(cells) - most
    chosen = generator(seed, "cap", slug, group).permutation(len(cells))[:most]
    return cells[np.sort(chosen)]


@dataclass(frozen=True)
class _Grid:
    """Points every `stride` high px from `first`. step: level-0 px per high px (x, y); shape: (rows, columns)."""

    first: int
    stride: int
    step: tuple[float, float]
    shape: tuple[int, int]

    @classmethod
    def of(cls, config: ShardsConfig, stride_um: float, size: tuple[int, int], mpp: tuple[float, float]) -> "_Grid":
        stride = round(stride_um / config.high_mpp)
        first = stride // 2 // config.ratio * config.ratio
        step = (config.high_mpp / mpp[0], config.high_mpp / mpp[1])
        columns, rows = (max(0, -(-(int(size[i] / step[i]) - first) // stride)) for i in (0, 1))
        return cls(first, stride, step, (rows, columns))

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y in level-0 px, (rows, columns) each."""
        rows, columns = self.shape
        x = (self.first + self.stride * np.arange(columns)) * self.step[0]
        y = (self.first + self.stride * np.arange(rows)) * self.step[1]
        grid_x, grid_y = np.meshgrid(x, y)
        return grid_x, grid_y

    def classes(self, annotation: Annotation) -> np.ndarray:
        """Fine class, EXCLUDED_PX or UNLABELLED, of the high px to the lower right of each point, (rows, columns)."""
        cell = (self.stride * self.step[0], self.stride * self.step[1])
        corner = tuple((self.first + 0.5 - self.stride / 2) * step for step in self.step)
        rows, columns = self.shape
        if not rows or not columns:
            return np.empty(self.shape, np.uint8)
        return annotation.label((corner[0], corner[1]), cell, (columns, rows))

    def seeds(self, cells: np.ndarray, fine: int) -> list[Seed]:
        points = self.first + self.stride * cells
        return [Seed(column, row, fine) for row, column in points.tolist()]
