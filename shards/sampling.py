"""Where patches are taken: a grid inside annotations with the class at each seed, and a grid on unannotated tissue."""

from dataclasses import dataclass

import numpy as np

from mlseg_core.randomness import generator
from shards.annotation import UNLABELLED, Region, rasterise
from shards.config import ShardsConfig
from shards.tissue import TissueMask

_FINE_UM = 4.0  # resolution at which the class at a seed is looked up


@dataclass(frozen=True)
class Seed:
    """A patch's centre, level-0 px, and the fine class id there (UNLABELLED on unannotated tissue)."""

    x: float
    y: float
    fine: int


def choose_seeds(
    config: ShardsConfig,
    slug: str,
    split: str,
    size: tuple[int, int],
    mpp: tuple[float, float],
    regions: list[Region],
    tissue: TissueMask,
) -> list[Seed]:
    """Seeds of one slide in the order of their keys (rows, then columns)."""
    x, y, fine = _grid(config.stride_um, size, mpp, regions)
    keep = fine != UNLABELLED
    seeds = [Seed(*row) for row in zip(x[keep], y[keep], fine[keep].tolist(), strict=True)]
    kept: list[Seed] = []
    for fine_id in sorted({seed.fine for seed in seeds}):
        of_class = [seed for seed in seeds if seed.fine == fine_id]
        name = config.fine_classes[fine_id]
        kept += _cap(of_class, config.class_caps.get(name, config.max_per_class), config.seed, slug, name)
    if config.tissue_stride_um and split == "train":
        x, y, fine = _grid(config.tissue_stride_um, size, mpp, regions)
        free = (fine == UNLABELLED) & tissue.at(x, y)
        spare = [Seed(px, py, UNLABELLED) for px, py in zip(x[free], y[free], strict=True)]
        kept += _cap(spare, config.max_tissue, config.seed, slug, "tissue")
    return sorted(kept, key=lambda seed: (round(seed.y), round(seed.x)))


def _cap(seeds: list[Seed], most: int, seed: int, slug: str, group: str) -> list[Seed]:
    if len(seeds) <= most:
        return seeds
    chosen = generator(seed, "cap", slug, group).permutation(len(seeds))[:most]
    return [seeds[i] for i in sorted(chosen)]


def _grid(
    stride_um: float, size: tuple[int, int], mpp: tuple[float, float], regions: list[Region]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """x, y (level-0 px) and fine class of the points of a centred grid, row by row."""
    fold = max(1, round(stride_um / _FINE_UM)) | 1  # odd: the seed is the centre pixel of its cell
    step = (stride_um / mpp[0], stride_um / mpp[1])
    columns, rows = int(size[0] / step[0]), int(size[1] / step[1])
    if columns == 0 or rows == 0:
        return np.empty(0), np.empty(0), np.empty(0, np.uint8)
    center = (size[0] / 2, size[1] / 2)
    fine_step = (step[0] / fold, step[1] / fold)
    label = rasterise(regions, center, fine_step, (columns * fold, rows * fold))[fold // 2 :: fold, fold // 2 :: fold]
    x = center[0] + (np.arange(columns) + 0.5 - columns / 2) * step[0]
    y = center[1] + (np.arange(rows) + 0.5 - rows / 2) * step[1]
    grid_x, grid_y = np.meshgrid(x, y)
    return grid_x.ravel(), grid_y.ravel(), label.ravel()
