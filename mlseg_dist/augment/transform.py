"""One physical transform of a sample: where on the stored field (µm from its centre) each point of the patch comes from.

    stored = crop + xy_jitter + L (p − shift + D(p)),   L = rotate · flip · shear / rescale,
    D = elastic + grid_distortion + optical_distortion,   p: µm from the patch's centre

Both views and labels sample this map, each on its own pixels; so they agree wherever they show the same tissue.
"""

import math
from functools import lru_cache

import numpy as np

from mlseg_dist.augment.parameters import Elastic, GridDistortion, OpticalDistortion, Parameters

NODES = 64
"""Control points of a drawn field per axis; beyond them it repeats."""
_SPLINE_RMS = 151 / 315
"""Mean square of a cubic B-spline over unit normal control points, per axis; in two axes this is the rms itself."""
MAP_STEP = 8
"""Pixels between the points at which a map is computed; linear in between."""


def linear(p: Parameters) -> np.ndarray:
    """L, (2, 2), without a unit."""
    turn = p.rotate or 0.0
    flip_x, flip_y = p.flip or (False, False)
    shear_x, shear_y = p.shear or (0.0, 0.0)
    rotation = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    flip = np.diag([-1.0 if flip_x else 1.0, -1.0 if flip_y else 1.0])
    shear = np.array([[1.0, 0.0], [shear_y, 1.0]]) @ np.array([[1.0, shear_x], [0.0, 1.0]])
    return rotation @ flip @ shear / (p.rescale or 1.0)


def affine_um(p: Parameters, margin_um: float) -> np.ndarray:
    """The map without D, (2, 3), µm. margin_um: what the high view's stored field has beyond its patch, each side."""
    crop, jitter, shift = (np.array(value or (0.0, 0.0)) for value in (p.crop, p.xy_jitter, p.shift))
    matrix = linear(p)
    return np.hstack([matrix, (crop * margin_um + jitter - matrix @ shift)[:, None]])


def is_affine(p: Parameters) -> bool:
    return p.elastic is None and p.grid_distortion is None and p.optical_distortion is None


def displacement_um(p: Parameters, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """D at the points of the grid y (M,) by x (N,): (M, N, 2) as (x, y), all µm."""
    moved = np.zeros((len(y), len(x), 2))
    if p.elastic:
        moved += _elastic(p.elastic, x, y)
    if p.grid_distortion:
        moved += _grid(p.grid_distortion, x, y)
    if p.optical_distortion:
        moved += _optical(p.optical_distortion, x, y)
    return moved


def stored_um(p: Parameters, x: np.ndarray, y: np.ndarray, margin_um: float) -> np.ndarray:
    """Where the points of the grid y by x of the patch come from: (M, N, 2) as (x, y), all µm from the centres."""
    points = np.stack(np.meshgrid(x, y), -1)
    if not is_affine(p):
        points = points + displacement_um(p, x, y)
    affine = affine_um(p, margin_um)
    return points @ affine[:, :2].T + affine[:, 2]


def affine_px(p: Parameters, mpp: float, patch_px: int, stored_px: int, margin_um: float) -> np.ndarray:
    """(2, 3): patch px -> stored px, pixel centres at integers."""
    matrix = affine_um(p, margin_um)
    middle = np.full(2, (patch_px - 1) / 2)
    offset = matrix[:, 2] / mpp + (stored_px - 1) / 2 - matrix[:, :2] @ middle
    return np.hstack([matrix[:, :2], offset[:, None]])


def coarse_map_px(p: Parameters, mpp: float, patch_px: int, stored_px: int, margin_um: float) -> np.ndarray:
    """(n + 2, n + 2, 2) float32, n = patch_px / MAP_STEP rounded up: stored px at every MAP_STEP-th px of the patch.

    Point (i, j) is the middle of block (i − 1, j − 1) of MAP_STEP² pixels; the outermost lie outside of the patch.
    """
    count = -(-patch_px // MAP_STEP)
    at = (np.arange(-1, count + 1) * MAP_STEP + (MAP_STEP - patch_px) / 2) * mpp
    return (stored_um(p, at, at, margin_um) / mpp + (stored_px - 1) / 2).astype(np.float32)


def _elastic(elastic: Elastic, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    points = _lattice(elastic.seed) * (elastic.sigma_um / _SPLINE_RMS)
    across, down = (_spline(values / elastic.cell_um) for values in (x, y))
    return np.stack([down @ points[..., axis] @ across.T for axis in (0, 1)], -1)


@lru_cache(maxsize=64)
def _lattice(seed: int) -> np.ndarray:
    """(NODES, NODES, 2) of unit normals."""
    return np.random.Generator(np.random.Philox(key=seed)).standard_normal((NODES, NODES, 2))


def _spline(t: np.ndarray) -> np.ndarray:
    """(len(t), NODES): weights of the control points at the integers, cubic B-spline, periodic; t = 0 lies in the middle."""
    t = t + NODES // 2
    cell = np.floor(t).astype(int)
    f = t - cell
    weights = ((1 - f) ** 3, 3 * f**3 - 6 * f**2 + 4, -3 * f**3 + 3 * f**2 + 3 * f + 1, f**3)
    out = np.zeros((len(t), NODES))
    for step, weight in enumerate(weights):
        out[np.arange(len(t)), (cell + step - 1) % NODES] = weight / 6
    return out


def _grid(grid: GridDistortion, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    lines = np.random.Generator(np.random.Philox(key=grid.seed)).uniform(-grid.reach_um, grid.reach_um, (2, NODES))
    along_x, along_y = (
        np.interp(values / grid.cell_um + NODES // 2, np.arange(NODES), moved, period=NODES)
        for values, moved in zip((x, y), lines, strict=True)
    )
    return np.stack(np.broadcast_arrays(along_x[None, :], along_y[:, None]), -1)


def _optical(lens: OpticalDistortion, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = np.meshgrid(x, y)
    stretch = lens.k * (x**2 + y**2) / lens.radius_um**2
    return np.stack([x * stretch, y * stretch], -1)
