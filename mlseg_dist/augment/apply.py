"""The CPU executor: one warp per view for all geometry, then colour with albumentations' functions.

The same physical transform meets high, low and both labels: it is an affine map in µm about the common centre.
"""

import math

import albumentations.augmentations.pixel.functional as colour
import cv2
import numpy as np

from mlseg_dist.augment.draw import Parameters
from mlseg_dist.config import IGNORED
from mlseg_dist.data.views import Views


def augment(views: Views, parameters: Parameters, mpp: dict[str, float], patch_px: int) -> Views:
    """Stored views -> augmented patches of `patch_px`. mpp: µm/px of `high` and `low`.

    Labels are nearest-neighbour, 255 where there are no pixels.
    """
    out = {}
    for view in ("high", "low"):
        matrix = _source_of_output(parameters, mpp[view], getattr(views, view).shape[0], patch_px)
        out[view] = _colour(_warp_image(getattr(views, view), matrix, patch_px), parameters, mpp[view], view)
        out[f"{view}_label"] = _warp_label(getattr(views, f"{view}_label"), matrix, patch_px)
    return Views(**out, high_fine=np.empty((0, 0), np.uint8))


def _source_of_output(p: Parameters, mpp: float, source_px: int, patch_px: int) -> np.ndarray:
    """Affine (2, 3): output px (pixel centres at integers, as OpenCV has it) -> source px."""
    cos, sin = math.cos(p.angle) / p.zoom, math.sin(p.angle) / p.zoom
    flip = -1.0 if p.mirror else 1.0
    linear = np.array([[cos * flip, -sin], [sin * flip, cos]])
    middle_out, middle_in = (patch_px - 1) / 2, (source_px - 1) / 2
    offset = middle_in + np.array(p.shift_um) / mpp - linear @ np.array([middle_out, middle_out])
    return np.hstack([linear, offset[:, None]])


def _warp_image(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_REFLECT_101)


def _warp_label(label: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    flags = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(
        label, matrix, (size, size), flags=flags, borderMode=cv2.BORDER_CONSTANT, borderValue=(IGNORED,)
    )


def _colour(image: np.ndarray, p: Parameters, mpp: float, view: str) -> np.ndarray:
    if p.blur_um / mpp > 0.3:  # less is invisible
        image = cv2.GaussianBlur(image, (0, 0), p.blur_um / mpp)
    if p.brightness != 1:
        image = colour.adjust_brightness_torchvision(image, p.brightness)
    if p.contrast != 1:
        image = colour.adjust_contrast_torchvision(image, p.contrast)
    if p.saturation != 1:
        image = colour.adjust_saturation_torchvision(image, p.saturation)
    if p.hue != 0:
        image = colour.adjust_hue_torchvision(image, p.hue)
    if p.noise > 0.5:
        random = np.random.Generator(np.random.Philox(key=p.noise_seed * 2 + (view == "low")))
        noise = random.standard_normal(image.shape, np.float32) * p.noise
        image = np.clip(np.rint(image + noise), 0, 255).astype(np.uint8)
    return image
