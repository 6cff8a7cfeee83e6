"""The drawing surface: three layers of dye amount at level 0, and the ways to put outlines and cells on them.

Amounts are uint8, UNIT steps = optical density 1 along the dye's vector. Coordinates come in µm.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import shapely
from numpy.random import Generator
from shapely.geometry.base import BaseGeometry

from shards.phantom.shapes import Points, polygons

UNIT = 100
_SHIFT = 4


@dataclass
class Canvas:
    """counterstain: nuclei (haematoxylin). chromogen: the marker. matrix: stroma, cytoplasm, collagen. All rows×columns."""

    mpp: float
    counterstain: np.ndarray
    chromogen: np.ndarray
    matrix: np.ndarray

    @classmethod
    def blank(cls, size_um: float, mpp: float) -> "Canvas":
        side = int(size_um / mpp)
        return cls(mpp, *(np.zeros((side, side), np.uint8) for _ in range(3)))

    @property
    def shape(self) -> tuple[int, int]:
        return self.matrix.shape[0], self.matrix.shape[1]

    def fixed(self, points: Points) -> np.ndarray:
        """µm -> OpenCV's fixed-point pixels."""
        return np.round((np.asarray(points) / self.mpp - 0.5) * (1 << _SHIFT)).astype(np.int32)

    def fill(self, layer: np.ndarray, outline: Points | BaseGeometry, amount: float) -> None:
        """Fill an outline or a polygon (holes stay) with an amount in OD."""
        if isinstance(outline, BaseGeometry):
            for part in polygons(outline):
                rings = [self.fixed(np.asarray(r.coords)) for r in (part.exterior, *part.interiors)]
                cv2.fillPoly(layer, rings, _steps(amount), cv2.LINE_AA, _SHIFT)
        else:
            cv2.fillPoly(layer, [self.fixed(outline)], _steps(amount), cv2.LINE_AA, _SHIFT)

    def stroke(self, layer: np.ndarray, line: Points, width_um: float, amount: float, closed: bool = False) -> None:
        """Draw a line of a width in µm."""
        width = max(1, round(width_um / self.mpp))
        cv2.polylines(layer, [self.fixed(line)], closed, _steps(amount), width, cv2.LINE_AA, _SHIFT)

    def ellipses(
        self,
        layer: np.ndarray,
        centres: Points,
        half_axes: Points,
        degrees: np.ndarray,
        amounts: np.ndarray,
        rim_um: float | None = None,
    ) -> None:
        """Draw N filled ellipses (or their rims). centres, half_axes: N×2 µm; degrees, amounts (OD): N."""
        thickness = -1 if rim_um is None else max(1, round(rim_um / self.mpp))
        at = self.fixed(centres).tolist()
        axes = np.maximum(1, np.round(half_axes / self.mpp * (1 << _SHIFT))).astype(int).tolist()
        steps = np.clip(amounts * UNIT, 0, 255).astype(int).tolist()
        turns = np.asarray(degrees, float).tolist()
        for centre, axis, turn, step in zip(at, axes, turns, steps, strict=True):
            cv2.ellipse(layer, centre, axis, turn, 0, 360, step, thickness, cv2.LINE_AA, _SHIFT)


def _steps(amount: float) -> int:
    return int(np.clip(amount * UNIT, 0, 255))


def scattered(random: Generator, shape: BaseGeometry, spacing_um: float, jitter: float = 0.3) -> Points:
    """Points in a shape on a shaken hexagonal grid, N×2 µm."""
    west, south, east, north = shape.bounds
    rows = np.arange(south, north, spacing_um * 0.87)
    columns = np.arange(west - spacing_um, east + spacing_um, spacing_um)
    x, y = np.meshgrid(columns, rows)
    x[1::2] += spacing_um / 2
    points = np.stack([x.ravel(), y.ravel()], 1)
    points += random.uniform(-jitter, jitter, points.shape) * spacing_um
    shapely.prepare(shape)
    return points[shapely.contains_xy(shape, points)]
