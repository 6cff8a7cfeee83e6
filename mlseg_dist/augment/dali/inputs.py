"""What the graph is fed with: a sample's draw as plain arrays, a set for each of its two views. Pure numpy, no DALI."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mlseg_dist.augment import kernels, tone, transform
from mlseg_dist.augment.dali.recipe import Recipe
from mlseg_dist.augment.parameters import Parameters, StainShift

VIEWS = ("high", "low")
NO_BLUR = (0.5, 1)
"""Sigma in px and window of a Gaussian that changes nothing."""
_STAIN = 7


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
"""Of the high and the low view: source's name -> array; of a bank's window its seed."""


@dataclass(frozen=True)
class Source:
    """One input of the graph. place: host (arguments of operators), device, or a bank that lies on the device."""

    dtype: Literal["uint8", "int32", "float32"]
    ndim: int
    layout: str | None = None
    place: Literal["host", "device", "normals", "uniforms"] = "device"


def sources(recipe: Recipe) -> dict[str, Source]:
    """By name, all that a graph takes."""
    pixel = Source("float32", 3)
    out = {
        "jpeg": Source("uint8", 1, place="host"),
        "label": Source("uint8", 3, "HWC"),
        "box_start": Source("int32", 1, place="host"),
        "box_shape": Source("int32", 1, place="host"),
    }
    if recipe.has_field:
        out["field"] = Source("float32", 3, "HWC")
    else:
        out["affine"] = Source("float32", 2, place="host")
    if "glass_blur" in recipe.ops:
        out |= {"glass": Source("float32", 3, "HWC", "uniforms"), "glass_px": pixel}
    if recipe.stains:
        out["stains"] = Source("float32", 2)
    if recipe.has_matrix:
        out["colour"] = Source("float32", 2, place="host")
    if "gamma" in recipe.ops:
        out["gamma"] = pixel
    if recipe.clahes:
        out["clahe"] = Source("float32", 1)
    if recipe.has_gaussian:
        out |= {"sigma": Source("float32", 0, place="host"), "window": Source("int32", 0, place="host")}
    if recipe.has_kernel:
        out["kernel"] = Source("float32", 2)
    for noise in ("gaussian_noise", "random_noise"):
        if noise in recipe.ops:
            out |= {noise: Source("uint8", 3, "HWC", "normals"), f"{noise}_scale": pixel}
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
        fed |= {"glass": glass.seed if glass else 0, "glass_px": _pixel(glass.radius_um / mpp if glass else 0)}
    if recipe.stains:
        fed["stains"] = _stains(p.targeted_hsv or (), recipe.stains)
    if recipe.has_matrix:
        matrix = tone.colour_matrix(p)
        fed["colour"] = (np.eye(3, 4) if matrix is None else matrix).astype(np.float32)
    if "gamma" in recipe.ops:
        fed["gamma"] = _pixel(1.0 if p.gamma is None else p.gamma)
    if recipe.clahes:
        fed["clahe"] = clahe_weights(p.clahe.clip if p.clahe else None, recipe.clahe_tiles[number], recipe)
    if recipe.has_gaussian:
        sigma, window = gaussian(p, mpp)
        fed |= {"sigma": np.float32(sigma), "window": np.int32(window)}
    if recipe.has_kernel:
        fed["kernel"] = kernel(p, mpp)
    for name, noise in (("gaussian_noise", p.gaussian_noise), ("random_noise", p.random_noise)):
        if name in recipe.ops:
            fed |= {name: noise.seed if noise else 0, f"{name}_scale": _pixel(noise.sigma if noise else 0)}
    return fed


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


def _stains(shifts: tuple[StainShift, ...], count: int) -> np.ndarray:
    """(count, 7): opposite of the window's middle, half its width, 1 / soft (degrees); none, 1 / (full − none), S, V."""
    out = np.zeros((count, _STAIN), np.float32)
    for row, stain in zip(out, shifts, strict=False):
        width = (stain.hue[1] - stain.hue[0]) % 360
        row[:3] = stain.hue[0] + width / 2 - 180, width / 2, 1 / max(stain.soft, 1e-6)
        row[3:] = stain.none, 1 / (stain.full - stain.none), stain.saturation, stain.value
    return out


def clahe_weights(clip: float | None, tiles: int, recipe: Recipe) -> np.ndarray:
    """float32, of each limit of each of recipe.clahes, sum 1; all 0 where none was drawn."""
    out: list[float] = []
    for clahes in recipe.clahes:
        if clip is None or clahes.tiles != tiles:
            out += [0.0] * len(clahes.limits)
        else:
            out += [float(np.interp(clahes.limit(clip), clahes.limits, one)) for one in np.eye(len(clahes.limits))]
    return np.array(out, np.float32)


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
