"""What the graph is fed with: a sample's draw as plain arrays, a set for each of its two views. Pure numpy, no DALI."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mlseg_dist.augment import bank, kernels, tone, transform
from mlseg_dist.augment.dali import tables
from mlseg_dist.augment.dali.recipe import Recipe
from mlseg_dist.augment.parameters import Noise, Parameters, StainShift

VIEWS = ("high", "low")
NO_BLUR = (0.5, 1)
"""Sigma in px and window of a Gaussian that changes nothing."""
CHANNELS = {"normals": 3, "uniforms": 2}
"""Bank -> channels of its windows."""
_GREY_OF_L8 = tables.ROOT / (2.55 * 116)
"""What a step of L x 2.55 adds to the roots of X, Y and Z."""


@dataclass(frozen=True)
class Encoded:
    """A stored sample and its draw. high, low: JPEG bytes, already checked: one that cannot be decoded ends the pipeline.

    high_label, low_label: uint8 (S, S), training classes.
    """

    high: bytes
    low: bytes
    high_label: np.ndarray
    low_label: np.ndarray
    parameters: Parameters


Prepared = tuple[dict[str, Any], dict[str, Any]]
"""For the high and the low view: a source's name -> its array; for a bank's window, where it begins."""


@dataclass(frozen=True)
class ExternalSource:
    """One input of the graph. place: host (arguments of operators), device, or a bank that lies on the device.

    stacked: one array a batch, not one a view; for small arrays that always have the same shape.
    """

    dtype: Literal["bool", "uint8", "int32", "float32"]
    ndim: int
    layout: str | None = None
    place: Literal["host", "device", "normals", "uniforms"] = "device"
    stacked: bool = False


def sources(recipe: Recipe) -> dict[str, ExternalSource]:
    """By name, all that a graph takes."""
    scalar, matrix = (ExternalSource("float32", ndim, place="host", stacked=True) for ndim in (0, 2))
    pixel, corner = ExternalSource("float32", 3, stacked=True), ExternalSource("int32", 1, place="host", stacked=True)
    out = {
        "jpeg": ExternalSource("uint8", 1, place="host"),
        "label": ExternalSource("uint8", 3, "HWC"),
        "box_start": corner,
        "box_shape": corner,
    }
    if recipe.has_field:
        out["field"] = ExternalSource("float32", 3, "HWC", stacked=True)
    else:
        out["affine"] = matrix
    if "glass_blur" in recipe.ops:
        out |= {"glass": ExternalSource("float32", 3, "HWC", "uniforms"), "glass_px": pixel}
    out |= {f"stains_{number}": matrix for number, _ in enumerate(recipe.stain_groups)}
    if recipe.has_matrix:
        out["colour"] = matrix
    if "gamma" in recipe.ops:
        out |= {"gamma": pixel, "gamma_scale": scalar}
    if recipe.clahes:
        drawn = ExternalSource("bool", 0, place="host", stacked=True)
        out |= {"clahe_drawn": drawn, "clahe": ExternalSource("float32", 2, place="host")}
        if len(recipe.clahes) > 1:
            out["clahe_low"] = drawn
    if recipe.has_gaussian:
        out |= {"sigma": scalar, "window": ExternalSource("int32", 0, place="host", stacked=True)}
    if recipe.has_kernel:
        out["kernel"] = ExternalSource("float32", 2)
    for noise in ("gaussian_noise", "random_noise"):
        if noise in recipe.ops:
            out |= {noise: ExternalSource("uint8", 3, "HWC", "normals"), f"{noise}_matrix": matrix}
    return out


def prepare(sample: Encoded, recipe: Recipe) -> Prepared:
    """May be called from many threads."""
    high, low = (_view(sample, number, recipe) for number in (0, 1))
    return high, low


def _view(sample: Encoded, number: int, recipe: Recipe) -> dict[str, Any]:
    p, mpp, view = sample.parameters, recipe.mpp[number], VIEWS[number]
    fed: dict[str, Any] = {
        "jpeg": np.frombuffer(getattr(sample, view), np.uint8),
        "label": np.ascontiguousarray(getattr(sample, f"{view}_label"))[:, :, None],
    }
    fed |= _field(p, mpp, recipe) if recipe.has_field else _affine(p, mpp, recipe)
    if "glass_blur" in recipe.ops:
        glass = p.glass_blur
        fed["glass"] = _begin("uniforms", glass.seed if glass else 0, view, recipe)
        fed["glass_px"] = _pixel(glass.radius_um / mpp if glass else 0)
    for group, stains in enumerate(recipe.stain_groups):
        fed[f"stains_{group}"] = stain_matrix(p.targeted_hsv or (), stains)
    if recipe.has_matrix:
        matrix = tone.colour_matrix(p)
        fed["colour"] = (np.eye(3, 4) if matrix is None else matrix).astype(np.float32)
    if "gamma" in recipe.ops:
        gamma = 1.0 if p.gamma is None else p.gamma
        fed |= {"gamma": _pixel(gamma), "gamma_scale": np.float32(255 ** (1 - gamma))}
    if recipe.clahes:
        clip = p.clahe.clip if p.clahe else None
        fed |= {"clahe_drawn": np.bool_(clip is not None), "clahe_low": np.bool_(number == 1)}
        fed["clahe"] = clahe_matrix(clip, recipe.clahe_tiles[number], recipe)
    if recipe.has_gaussian:
        sigma, window = gaussian(p, mpp)
        fed |= {"sigma": np.float32(sigma), "window": np.int32(window)}
    if recipe.has_kernel:
        fed["kernel"] = kernel(p, mpp)
    for name, noise in (("gaussian_noise", p.gaussian_noise), ("random_noise", p.random_noise)):
        if name in recipe.ops:
            fed[name] = _begin("normals", noise.seed if noise else 0, view, recipe)
            fed[f"{name}_matrix"] = noise_matrix(noise)
    return fed


def _begin(place: str, seed: int, view: str, recipe: Recipe) -> int:
    return bank.begin(recipe.patch_px**2 * CHANNELS[place], seed, view)


def _pixel(value: float) -> np.ndarray:
    return np.full((1, 1, 1), value, np.float32)


def _affine(p: Parameters, mpp: float, recipe: Recipe) -> dict[str, np.ndarray]:
    """Pixel centres at halves, as DALI has them, from the corner of the box."""
    matrix = transform.affine_px(p, mpp, recipe.patch_px, recipe.store_px, _margin_um(recipe))
    ends = np.array([(x, y, 1) for x in (0, recipe.patch_px - 1) for y in (0, recipe.patch_px - 1)])
    start, shape = _box(ends @ matrix.T, 0.0, 1)
    matrix[:, 2] += 0.5 - matrix[:, :2].sum(1) / 2 - start
    return {"affine": matrix.astype(np.float32), **_box_arrays(start, shape)}


def _field(p: Parameters, mpp: float, recipe: Recipe) -> dict[str, np.ndarray]:
    places = transform.coarse_map_px(p, mpp, recipe.patch_px, recipe.store_px, _margin_um(recipe))
    reach = p.glass_blur.radius_um / mpp if p.glass_blur else 0.0
    start, shape = _box(places.reshape(-1, 2), reach, recipe.patch_px)
    return {"field": places - start.astype(np.float32), **_box_arrays(start, shape)}


def _margin_um(recipe: Recipe) -> float:
    return (recipe.store_px - recipe.patch_px) / 2 * recipe.mpp[0]


def _box(places: np.ndarray, reach: float, least: int) -> tuple[np.ndarray, int]:
    """First pixel (x, y) and side of the square of the stored field that `places` take their pixels from."""
    first = np.floor(places.min(0) - reach).astype(int) - 1
    last = np.ceil(places.max(0) + reach).astype(int) + 1
    return first, max(least, int((last - first).max()) + 1)


def _box_arrays(start: np.ndarray, side: int) -> dict[str, np.ndarray]:
    return {"box_start": start[::-1].astype(np.int32), "box_shape": np.full(2, side, np.int32)}


def stain_matrix(shifts: Sequence[StainShift], stains: Sequence[StainShift]) -> np.ndarray:
    """float32 (2, 3 + weights): S, V, the weight of each of `stains` (tables.stain_weights: bytes, in pairs) and 1 -> new S, V."""
    out = np.zeros((2, 3 + len(stains) + len(stains) % 2), np.float32)
    out[0, 0] = out[1, 1] = 1
    for shift in shifts:
        place = replace(shift, saturation=0.0, value=0.0)
        if place in stains:
            out[:, 2 + stains.index(place)] += np.array([shift.saturation, shift.value], np.float32) / 255
    return out


def clahe_matrix(clip: float | None, tiles: int, recipe: Recipe) -> np.ndarray:
    """float32 (1, N): L, then L equalised at each limit of its tiling -> what to add to the roots of X, Y and Z.

    A 0, the constant, ends each of Clahes.chunks, which makes it a matrix of its own.
    """
    (kind,) = (kind for kind in recipe.clahes if kind.tiles == tiles)
    weights = {limit: 0.0 for limit in kind.limits}
    if clip is not None:
        for limit, one in zip(kind.limits, np.eye(len(kind.limits)), strict=True):
            weights[limit] = float(np.interp(kind.limit(clip), kind.limits, one))
    row = [-sum(weights.values())]
    for chunk in kind.chunks:
        row += [*(weights[limit] for limit in chunk), 0.0]
    return _GREY_OF_L8 * np.array([row], np.float32)


def noise_matrix(noise: Noise | None) -> np.ndarray:
    """float32 (3, 7): R, G, B, a window of normals and 1 -> R, G, B."""
    scale = noise.sigma / bank.NORMAL_STEP if noise else 0.0
    return np.hstack([np.eye(3), scale * np.eye(3), np.full((3, 1), -128 * scale)]).astype(np.float32)


def gaussian(p: Parameters, mpp: float) -> tuple[float, int]:
    """Sigma in px and window, OpenCV's for 8 bits."""
    sigma = kernels.gaussian_sigma_px(p, mpp)
    return (sigma, round(6 * sigma + 1) | 1) if sigma else NO_BLUR


def kernel(p: Parameters, mpp: float) -> np.ndarray:
    """float32 (K, K): motion blur, then emboss, as one correlation."""
    out = np.ones((1, 1), np.float32)
    if p.motion_blur:
        out = kernels.motion_kernel(p.motion_blur, mpp)
    if p.emboss:
        out = _after(out, kernels.emboss_kernel(p.emboss, mpp))
    return out


def _after(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    side = len(first)
    out = np.zeros((side + len(second) - 1,) * 2, np.float32)
    for (row, column), weight in np.ndenumerate(second):
        out[row : row + side, column : column + side] += weight * first
    return out
