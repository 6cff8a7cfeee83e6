"""The CPU executor: OpenCV on one thread; all geometry in one warp, all linear colour in one matrix.

Order: warp (with glass) → targeted_hsv → colour matrix → gamma → clahe → Gaussian blur → motion blur → emboss →
gaussian_noise → random_noise → albumentations. Stains are shifted while they have their own colours; the camera's noise comes last.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import numpy as np
from albucore import sz_lut

from mlseg_dist.augment import albumentations_ops, bank, kernels, tone, transform
from mlseg_dist.augment.parameters import GlassBlur, Noise, Parameters, StainShift
from mlseg_dist.config import IGNORED

if TYPE_CHECKING:
    from mlseg_dist.data.views import Views

_ROOTS = np.rint(255 * np.sqrt(np.arange(256) / 255)).astype(np.uint8)
_BORDER = cv2.BORDER_REFLECT_101
_NO_PIXELS = (IGNORED,)


def augment(views: "Views", parameters: Parameters, mpp: dict[str, float], patch_px: int) -> "Views":
    """See mlseg_dist.augment.augment."""
    margin_um = (views.high.shape[0] - patch_px) / 2 * mpp["high"]
    out = {}
    for view in ("high", "low"):
        image, label = warp(
            getattr(views, view), getattr(views, f"{view}_label"), parameters, mpp[view], patch_px, margin_um, view
        )
        out[view] = finish(recolour(image, parameters, mpp[view]), parameters, mpp[view], view)
        out[f"{view}_label"] = label
    for drawn in parameters.albumentations or ():
        out["high"], out["low"] = albumentations_ops.apply(drawn, out["high"], out["low"])
    return replace(views, **out, high_fine=np.empty((0, 0), np.uint8))


def warp(
    image: np.ndarray, label: np.ndarray, p: Parameters, mpp: float, patch_px: int, margin_um: float, view: str
) -> tuple[np.ndarray, np.ndarray]:
    """Image linear, reflected beyond its border; label nearest-neighbour, 255 there."""
    where = (p, mpp, patch_px, image.shape[0], margin_um)
    if transform.is_affine(p) and p.glass_blur is None:
        matrix, size = transform.affine_px(*where), (patch_px, patch_px)
        linear, nearest = (flag | cv2.WARP_INVERSE_MAP for flag in (cv2.INTER_LINEAR, cv2.INTER_NEAREST))
        return (
            cv2.warpAffine(image, matrix, size, flags=linear, borderMode=_BORDER),
            cv2.warpAffine(label, matrix, size, flags=nearest, borderMode=cv2.BORDER_CONSTANT, borderValue=_NO_PIXELS),
        )
    places = _full_map(transform.coarse_map_px(*where), patch_px)
    return (
        _remap(image, _through_glass(places, p.glass_blur, mpp, view), cv2.INTER_LINEAR, _BORDER),
        _remap(label, places, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT),
    )


def _remap(image: np.ndarray, places: np.ndarray, interpolation: int, border: int) -> np.ndarray:
    # The second map must be None, whatever the stubs say: given an empty array OpenCV 5.0 never returns.
    return cv2.remap(image, places, None, interpolation, borderMode=border, borderValue=_NO_PIXELS)  # type: ignore[call-overload]


def _full_map(coarse: np.ndarray, patch_px: int) -> np.ndarray:
    step = transform.MAP_STEP
    whole = cv2.resize(coarse, (coarse.shape[1] * step, coarse.shape[0] * step), interpolation=cv2.INTER_LINEAR)
    return whole[step : step + patch_px, step : step + patch_px]


def _through_glass(places: np.ndarray, glass: GlassBlur | None, mpp: float, view: str) -> np.ndarray:
    if glass is None:
        return places
    return places + bank.window(bank.uniforms(), places.shape, glass.seed, view) * np.float32(glass.radius_um / mpp)


def recolour(image: np.ndarray, p: Parameters, mpp: float) -> np.ndarray:
    """targeted_hsv, the colour matrix, gamma, clahe."""
    if p.targeted_hsv:
        image = shift_stains(image, p.targeted_hsv)
    matrix = tone.colour_matrix(p)
    if matrix is not None:
        image = cv2.transform(image, matrix)
    if p.gamma is not None:
        image = sz_lut(image, tone.gamma_table(p.gamma), inplace=False)
    if p.clahe is not None:
        tiles = max(1, round(image.shape[0] * mpp / p.clahe.tile_um))
        image = clahe(image, p.clahe.clip, tiles)
    return image


def clahe(image: np.ndarray, clip: float, tiles: int) -> np.ndarray:
    """Equalise the lightness (L of CIELAB) in tiles x tiles cells."""
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2LAB)
    lab[..., 0] = cv2.createCLAHE(clip, (tiles, tiles)).apply(lab[..., 0])
    return cv2.cvtColor(lab, cv2.COLOR_LAB2RGB)


def shift_stains(image: np.ndarray, stains: tuple[StainShift, ...]) -> np.ndarray:
    """Adds to S and V where hue, S and V say that a stain lies; all other pixels stay bit for bit."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL))
    new_saturation, new_value = saturation, value
    for stain in stains:
        weight = _stain_weight(hue, saturation, value, stain)
        new_saturation = cv2.addWeighted(new_saturation, 1, weight, stain.saturation, 0, dtype=cv2.CV_8U)
        new_value = cv2.addWeighted(new_value, 1, weight, stain.value, 0, dtype=cv2.CV_8U)
    shifted = cv2.cvtColor(cv2.merge((hue, new_saturation, new_value)), cv2.COLOR_HSV2RGB_FULL)
    moved = cv2.bitwise_or(cv2.absdiff(new_saturation, saturation), cv2.absdiff(new_value, value))
    return cv2.copyTo(shifted, moved, image.copy())


def stain_weight(image: np.ndarray, stain: StainShift) -> np.ndarray:
    """float32 (H, W), 0 to 1: how much of the shift of `stain` each pixel gets."""
    hue, saturation, value = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL))
    return _stain_weight(hue, saturation, value, stain)


def _stain_weight(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray, stain: StainShift) -> np.ndarray:
    weight = cv2.multiply(cv2.LUT(hue, tone.hue_weights(stain)), cv2.LUT(saturation, tone.stain_weights(stain)))
    return weight if stain.dark is None else cv2.min(weight, cv2.LUT(value, tone.dark_weights(stain)))


def finish(image: np.ndarray, p: Parameters, mpp: float, view: str) -> np.ndarray:
    """Blurs, emboss and noise."""
    sigma = kernels.gaussian_sigma_px(p, mpp)
    if sigma:
        image = cv2.GaussianBlur(image, (0, 0), sigma, borderType=_BORDER)
    if p.motion_blur:
        image = cv2.filter2D(image, -1, kernels.motion_kernel(p.motion_blur, mpp), borderType=_BORDER)
    if p.emboss:
        image = cv2.filter2D(image, -1, kernels.emboss_kernel(p.emboss, mpp), borderType=_BORDER)
    if p.gaussian_noise:
        image = _add_noise(image, p.gaussian_noise, view)
    if p.random_noise:
        image = _add_shot_noise(image, p.random_noise, view)
    return image


def _add_noise(image: np.ndarray, noise: Noise, view: str) -> np.ndarray:
    drawn = bank.window(bank.normals(), image.shape, noise.seed, view)
    scale = noise.sigma / bank.NORMAL_STEP
    return cv2.addWeighted(image, 1, drawn, scale, -128 * scale)


def _add_shot_noise(image: np.ndarray, noise: Noise, view: str) -> np.ndarray:
    drawn = (bank.window(bank.normals(), image.shape, noise.seed, view) ^ 128).view(np.int8)
    scale = noise.sigma / bank.NORMAL_STEP / 255
    return cv2.add(
        image, cv2.multiply(sz_lut(image, _ROOTS, inplace=False), drawn, scale=scale, dtype=cv2.CV_16S), dtype=cv2.CV_8U
    )
