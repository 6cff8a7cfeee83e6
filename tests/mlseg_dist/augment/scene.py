"""A scene with known landmarks, seen by both views; policies for tests."""

from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from pydantic import TypeAdapter

from mlseg_dist.augment.parameters import OPS
from mlseg_dist.augment.policy import OpConfig, PolicyConfig
from mlseg_dist.data.views import Views

CONFIGS = Path(__file__).parents[3] / "configs"
MPP = {"high": 1.0, "low": 4.0}
STORED, PATCH = 384, 256
MARGIN_UM = (STORED - PATCH) / 2 * MPP["high"]
RADIUS_UM = {"high": 9.0, "low": 22.0}
GEOMETRY = OPS[: OPS.index("gaussian_blur")]
DISTORTIONS = ("elastic", "grid_distortion", "optical_distortion")


def policy(*ops: dict[str, Any] | str) -> tuple[OpConfig, ...]:
    """Ops as YAML would give them; a name alone is the op with its own defaults."""
    items = [{"op": op} if isinstance(op, str) else op for op in ops]
    return TypeAdapter(PolicyConfig).validate_python(items, strict=False)


def landmarks_um() -> dict[int, tuple[float, float]]:
    """Label -> µm from the common centre: a fine grid that the high view shows too, and a coarse one around it."""
    fine = [(40.0 * i, 40.0 * j) for j in range(-3, 4) for i in range(-3, 4)]
    coarse = [(160.0 * i, 160.0 * j) for j in range(-4, 5) for i in range(-4, 5) if max(abs(i), abs(j)) > 1]
    return dict(enumerate(fine + coarse, start=1))


def painted() -> Views:
    """Dark discs on white with a label each, drawn at the same µm in both views; labels are 0 elsewhere."""
    arrays = {}
    for view, mpp in MPP.items():
        x, y = np.meshgrid(*[(np.arange(STORED) - (STORED - 1) / 2) * mpp] * 2)
        image = np.full((STORED, STORED, 3), 255.0)
        label = np.zeros((STORED, STORED), np.uint8)
        for number, (lx, ly) in landmarks_um().items():
            distance = np.hypot(x - lx, y - ly)
            if view == "low" and max(abs(lx), abs(ly)) <= 120 and (lx % 80 or ly % 80):
                continue  # too dense for the low view
            soft = np.clip((distance - RADIUS_UM[view]) / mpp + 0.5, 0, 1)
            image = np.minimum(image, 255 * soft[..., None])
            label[distance <= RADIUS_UM[view]] = number
        arrays |= {view: np.rint(image).astype(np.uint8), f"{view}_label": label}
    return Views(**arrays, high_fine=np.empty((0, 0), np.uint8))


def photographs() -> Views:
    """Real IHC tissue in both views, two labels."""
    tissue = skimage.data.immunohistochemistry()
    label = (tissue.mean(-1) > 150).astype(np.uint8)
    part = slice(64, 64 + STORED)
    return Views(
        np.ascontiguousarray(tissue[part, part]),
        np.ascontiguousarray(tissue[::-1][part, part]),
        label[part, part].copy(),
        label[::-1][part, part].copy(),
        np.empty((0, 0), np.uint8),
    )


def centroid_um(weight: np.ndarray, mpp: float) -> np.ndarray:
    """Of a patch, µm from its centre."""
    rows, columns = np.indices(weight.shape)
    middle = (np.array(weight.shape) - 1) / 2
    return np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum() * mpp - middle[::-1] * mpp
