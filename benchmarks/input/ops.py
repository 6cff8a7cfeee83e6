"""A policy as an albumentations pipeline: each op by its nearest namesake, in the arrangement that costs least.

All geometry that an Affine can do is one; what deforms works on half the margin; colour and optics work on the cut patch.
Both views go through one Compose with additional targets: the same draw for both, once.

Where it cannot be the same: a displacement is the same number of *pixels* in both views, four times too far on the low one, so
that the views no longer fit each other (crop, shift, xy_jitter, elastic, glass_blur; blurs and CLAHE's tiles are
four times too coarse there). The cost is that of doing it right with one draw.
"""

from collections.abc import Callable
from typing import Any

import albumentations as A
import cv2
import numpy as np

from mlseg_dist.augment.colour_ops import TargetedHsvOp
from mlseg_dist.augment.policy import OpConfig
from mlseg_dist.config import IGNORED

LIGHT = {
    "elastic": "approximate=True (a fixed small kernel)",
    "pca": "RGBShift",
    "random_noise": "GaussNoise",
    "glass_blur": "GaussianBlur",
}
"""What `light` takes in place of what albumentations is slow at."""
_GEOMETRY = ("rotate", "rescale", "crop", "xy_jitter", "flip")
_DEFORMING = ("shear", "shift", "elastic", "grid_distortion", "optical_distortion")
_ELASTIC_SIGMA_PX = 50
"""albumentations' default. Ours moves control points 80 to 160 px apart, a wider and for it a dearer kernel."""
_GAMMA = 2.2
"""Exponent from stored values to the light in which ShotNoise counts photons."""
_OUTSIDE = {"border_mode": cv2.BORDER_CONSTANT, "fill": 255, "fill_mask": IGNORED}


def transforms(policy: tuple[OpConfig, ...], patch_px: int, store_px: int, mpp: float, light: bool) -> list[Any]:
    """mpp: of the high view, µm/px. Raises KeyError for an op that has no namesake here."""
    ops: dict[str, Any] = {op.op: op for op in policy}
    margin_px = (store_px - patch_px) / 2
    found = [*_moved(ops, margin_px, mpp)]
    deforming = [_NAMESAKES[name](ops[name], mpp, light) for name in _DEFORMING if name in ops]
    if deforming:
        room = 2 * int(margin_px / 2)
        found += [A.CenterCrop(patch_px + room, patch_px + room), *deforming]
    found.append(A.CenterCrop(patch_px, patch_px))
    rest = (op for op in policy if op.op not in (*_GEOMETRY, *_DEFORMING))
    return [*found, *(_NAMESAKES[op.op](op, mpp, light) for op in rest)]


def _moved(ops: dict[str, Any], margin_px: float, mpp: float) -> list[Any]:
    """Rotation, scale, crop and jitter as one Affine; flips."""
    reach = [round(margin_px * ops["crop"].margin)] if "crop" in ops else []
    reach += [round(ops["xy_jitter"].um[1] / mpp)] if "xy_jitter" in ops else []
    affine = A.Affine(
        rotate=ops["rotate"].degrees if "rotate" in ops else 0,
        scale=ops["rescale"].zoom if "rescale" in ops else 1,
        translate_px={axis: (-sum(reach), sum(reach)) for axis in "xy"},
        p=1,
        **_OUTSIDE,
    )
    each = ops["flip"].each * ops["flip"].p if "flip" in ops else 0
    return [affine, A.HorizontalFlip(p=each), A.VerticalFlip(p=each)]


def _shift(op: Any, mpp: float, _: bool) -> Any:
    low, high = (round(um / mpp) for um in op.um)
    return A.Affine(translate_px={"x": (low, high), "y": (low, high)}, p=op.p, **_OUTSIDE)


def _elastic(op: Any, mpp: float, light: bool) -> Any:
    rms_px = sum(op.sigma_um) / 2 / mpp
    alpha = (
        rms_px * 2 * _ELASTIC_SIGMA_PX * np.sqrt(np.pi)
    )  # white noise of 1, smoothed, has an rms of 1 / (2 sigma root pi)
    return A.ElasticTransform(alpha=alpha, sigma=_ELASTIC_SIGMA_PX, approximate=light, p=op.p, **_OUTSIDE)


def _gaussian_blur(op: Any, mpp: float, _: bool) -> Any:
    low, high = (um / mpp for um in op.sigma_um)
    return A.GaussianBlur(blur_limit=0, sigma_limit=(low, high), p=op.p)


def _glass_blur(op: Any, mpp: float, light: bool) -> Any:
    if light:
        return _gaussian_blur(op, mpp, light)
    radius_px = max(1, round(sum(op.radius_um) / 2 / mpp))
    return A.GlassBlur(sigma=sum(op.sigma_um) / 2 / mpp, max_delta=radius_px, iterations=1, p=op.p)


def _motion_blur(op: Any, mpp: float, _: bool) -> Any:
    low, high = (max(3, 2 * round((um / mpp - 1) / 2) + 1) for um in op.length_um)
    return A.MotionBlur(blur_limit=(low, high), allow_shifted=False, p=op.p)


def _gaussian_noise(op: Any, _: float, light: bool) -> Any:
    low, high = (sigma / 255 for sigma in op.sigma)
    return A.GaussNoise(std_range=(low, high), p=op.p)


def _random_noise(op: Any, mpp: float, light: bool) -> Any:
    if light:
        return _gaussian_noise(op, mpp, light)
    low, high = ((_GAMMA * sigma / 255) ** 2 for sigma in op.sigma)
    return A.ShotNoise(scale_range=(low, high), p=op.p)


def _brightness(op: Any, _mpp: float, _: bool) -> Any:
    return A.RandomBrightnessContrast((op.factor[0] - 1, op.factor[1] - 1), (0, 0), p=op.p)


def _contrast(op: Any, _mpp: float, _: bool) -> Any:
    return A.RandomBrightnessContrast((0, 0), (op.factor[0] - 1, op.factor[1] - 1), p=op.p)


def _pca(op: Any, _: float, light: bool) -> Any:
    return A.RGBShift(p=op.p) if light else A.FancyPCA(alpha=op.sigma, p=op.p)


def _jitter(op: Any, _mpp: float, _: bool) -> Any:
    jitter = A.ColorJitter(op.brightness, op.contrast, op.saturation, op.hue, p=1)
    gain = [A.MultiplicativeNoise(op.gain, per_channel=True, p=1)] if hasattr(op, "gain") else []
    return A.Sequential([jitter, *gain], p=op.p)


class StainShift(A.ImageOnlyTransform):
    """Targeted HSV, which albumentations lacks, as one would write it: hard windows of hue, saturation and value."""

    def __init__(self, op: TargetedHsvOp) -> None:
        super().__init__(p=op.p)
        self.stains = tuple(op.stains.values())

    def get_params(self) -> dict[str, Any]:
        """One draw for all targets."""
        drawn = []
        for stain in self.stains:
            if self.py_random.random() < stain.p:
                low, high = (degrees / 2 for degrees in stain.hue)
                shift = [self.py_random.uniform(*limits) for limits in (stain.saturation, stain.value)]
                brightest = sum(stain.dark) / 2 if stain.dark else 255
                drawn.append(((low, sum(stain.stained) / 2, 0), (high, 255, brightest), (0, *shift, 0)))
        return {"drawn": drawn}

    def apply(self, img: np.ndarray, drawn: list[tuple], **params: Any) -> np.ndarray:
        hsv = cv2.cvtColor(img, cv2.COLOR_RGB2HSV)
        masks = [cv2.inRange(hsv, low, high) for low, high, _ in drawn]
        for mask, (*_, shift) in zip(masks, drawn, strict=True):
            cv2.add(hsv, shift, dst=hsv, mask=mask)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


_NAMESAKES: dict[str, Callable[[Any, float, bool], Any]] = {
    "shear": lambda op, mpp, light: A.Affine(shear=op.degrees, p=op.p, **_OUTSIDE),
    "shift": _shift,
    "elastic": _elastic,
    "grid_distortion": lambda op, mpp, light: A.GridDistortion(
        distort_limit=(-op.limit[1], op.limit[1]), p=op.p, **_OUTSIDE
    ),
    "optical_distortion": lambda op, mpp, light: A.OpticalDistortion(distort_limit=op.k, p=op.p, **_OUTSIDE),
    "gaussian_blur": _gaussian_blur,
    "glass_blur": _glass_blur,
    "motion_blur": _motion_blur,
    "emboss": lambda op, mpp, light: A.Emboss(alpha=op.strength, p=op.p),
    "gaussian_noise": _gaussian_noise,
    "random_noise": _random_noise,
    "brightness": _brightness,
    "contrast": _contrast,
    "gamma": lambda op, mpp, light: A.RandomGamma((100 * op.gamma[0], 100 * op.gamma[1]), p=op.p),
    "clahe": lambda op, mpp, light: A.CLAHE(clip_limit=op.clip, p=op.p),
    "pca": _pca,
    "colour_jitter": _jitter,
    "heavy_colour": _jitter,
    "targeted_hsv": lambda op, mpp, light: StainShift(op),
}
