"""All geometry of a view in one pass, as DALI nodes: the box of the stored field that the patch needs, reflected where it
leaves the field (255 in labels), then warped by a matrix, or remapped point by point.

experimental.remap gives an image of its input's size, fills what lies outside with 0 and needs NPP: so maps are padded to
the box, which is a square and holds every place, and what they add is cut off again.
"""

from typing import Any, cast

import cv2
import numpy as np
from nvidia.dali import fn, math
from nvidia.dali.data_node import DataNode
from nvidia.dali.types import DALIInterpType

from mlseg_dist.augment.transform import MAP_STEP
from mlseg_dist.config import IGNORED

_AXES = (0, 1)


def box(image: DataNode, label: DataNode, start: DataNode, shape: DataNode) -> tuple[DataNode, DataNode]:
    beyond: dict[str, Any] = {"out_of_bounds_policy": "constant", "fill_values": float(IGNORED)}
    return (
        fn.slice(image, start=start, shape=shape, axes=_AXES, out_of_bounds_policy="reflect_101"),
        fn.slice(label, start=start, shape=shape, axes=_AXES, **beyond),
    )


def affine(image: DataNode, label: DataNode, matrix: DataNode, patch_px: int) -> tuple[DataNode, DataNode]:
    """matrix: (2, 3), patch px -> box px."""
    size = (patch_px, patch_px)
    return (
        fn.warp_affine(image, matrix=matrix, size=size, interp_type=DALIInterpType.INTERP_LINEAR),
        fn.warp_affine(
            label, matrix=matrix, size=size, interp_type=DALIInterpType.INTERP_NN, fill_value=float(IGNORED)
        ),
    )


def places(field: DataNode, patch_px: int) -> DataNode:
    """Box px, (P, P, 2) as (x, y), of a coarse map (transform.coarse_map_px)."""
    side = (-(-patch_px // MAP_STEP) + 2) * MAP_STEP
    whole = fn.resize(field, size=(side, side), interp_type=DALIInterpType.INTERP_LINEAR, antialias=False)
    return fn.slice(cast(DataNode, whole), start=(MAP_STEP, MAP_STEP), shape=(patch_px, patch_px), axes=_AXES)


def remap(image: DataNode, at: DataNode, shape: DataNode, patch_px: int, nearest: bool, gpu: bool) -> DataNode:
    """shape: of the box, (2,). at: (P, P, 2), box px."""
    if nearest:
        at = math.floor(at + 0.5)
    at = fn.slice(at, start=(0, 0), shape=shape, axes=_AXES, out_of_bounds_policy="edge")
    if gpu:
        interpolation = DALIInterpType.INTERP_NN if nearest else DALIInterpType.INTERP_LINEAR
        out = fn.experimental.remap(image, at[:, :, 0], at[:, :, 1], interp=interpolation, pixel_origin="center")
    else:
        out = fn.python_function(image, at, function=_cv_nearest if nearest else _cv_linear, output_layouts="HWC")
    return fn.slice(out, start=(0, 0), shape=(patch_px, patch_px), axes=_AXES)


def _cv_linear(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    return cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_LINEAR)


def _cv_nearest(image: np.ndarray, at: np.ndarray) -> np.ndarray:
    return cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_NEAREST)[:, :, None]
