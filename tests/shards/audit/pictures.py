"""Pictures for the audit's tests: real IHC, phantoms, glass, marker strokes; and how they become small slides."""

from pathlib import Path

import cv2
import numpy as np
import skimage.data

from shards.phantom import table
from shards.phantom.config import PhantomConfig
from shards.phantom.layout import plan
from shards.reader import SlideReader
from tests.shards.slides_for_tests import write_slide

PHANTOMS = PhantomConfig(size_um=2400.0, mpp=1.0, train=4, val=0, test=0, dev_unseen=1, final_unseen=1)

INKS = {"green": (0.85, 0.25, 0.40), "blue": (1.10, 0.70, 0.20), "red": (0.10, 1.20, 1.10), "black": (1.20, 1.20, 1.15)}
"""Optical densities R, G, B. Green and red as measured on TCGA slides."""


def ihc() -> np.ndarray:
    """A real region, DAB and haematoxylin, about 0.5 µm/px; uint8 (512, 512, 3)."""
    return skimage.data.immunohistochemistry()


def glass(height: int, width: int, seed: int = 0, level: float = 242.0) -> np.ndarray:
    """Empty glass with camera noise."""
    noise = np.random.default_rng(seed).normal(0, 2, (height, width, 3))
    return (level + noise).clip(0, 254).astype(np.uint8)


def open_picture(path: Path, rgb: np.ndarray, mpp: float) -> SlideReader:
    write_slide(path, np.ascontiguousarray(rgb), mpp, levels=1)
    return SlideReader(path)


def phantom_tissue(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """What the phantom's drawing calls tissue, bool of `shape` over the whole slide."""
    specimen = next(row.specimen for row in table.rows(PHANTOMS) if row.specimen.name == path.stem)
    outline = np.asarray(plan(specimen).tissue.exterior.coords) * shape[1] / specimen.size_um
    return cv2.fillPoly(np.zeros(shape, np.uint8), [np.round(outline).astype(np.int32)], 1) > 0


def paint(rgb: np.ndarray, ink: str, width_px: int, fade_px: float) -> tuple[np.ndarray, np.ndarray]:
    """A marker stroke from corner to corner, out of focus as ink on the cover slip is. Returns picture and stroke."""
    height, width = rgb.shape[:2]
    line = cv2.line(np.zeros((height, width), np.uint8), (0, 0), (width - 1, height - 1), 1, width_px)
    amount = cv2.GaussianBlur(line.astype(np.float32), (0, 0), fade_px)
    painted = rgb * 10.0 ** -(amount[..., None] * np.array(INKS[ink]))
    return painted.round().clip(0, 255).astype(np.uint8), line > 0
