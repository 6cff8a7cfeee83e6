"""Ops that move pixels: one map in µm for both views and labels (transform.py)."""

import math
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from mlseg_dist.augment.parameters import XY, Elastic, GridDistortion, OpticalDistortion
from mlseg_dist.augment.ranges import Factor, Fraction, Op, Positive, Range, Strength, log_uniform, pair, seed, uniform


class RotateOp(Op):
    """About the centre. Any angle where the stored margin has the pixels (768 px for 512)."""

    op: Literal["rotate"]
    degrees: Range = (-180.0, 180.0)

    def draw(self, random: np.random.Generator) -> float:
        return math.radians(uniform(random, self.degrees))


class FlipOp(Op):
    """Mirrors left and right, and top and bottom, each with probability `each`."""

    op: Literal["flip"]
    each: Fraction = 0.5

    def draw(self, random: np.random.Generator) -> tuple[bool, bool]:
        return bool(random.random() < self.each), bool(random.random() < self.each)


class CropOp(Op):
    """Where in the stored field the patch is cut: its centre moves by up to `margin` of the high view's stored margin, in x
    and in y. Up to 0.17 (of 768 px for 512) a rotated patch still lies inside.
    """

    op: Literal["crop"]
    margin: Fraction = 0.15

    def draw(self, random: np.random.Generator) -> XY:
        return pair(random, (-self.margin, self.margin))


class RescaleOp(Op):
    """Magnifies; drawn log-uniformly."""

    op: Literal["rescale"]
    zoom: Factor = (0.9, 1.05)

    def draw(self, random: np.random.Generator) -> float:
        return log_uniform(random, self.zoom)


class ShiftOp(Op):
    """Moves the picture along its own axes, after all other geometry."""

    op: Literal["shift"]
    um: Range = (-16.0, 16.0)

    def draw(self, random: np.random.Generator) -> XY:
        return pair(random, self.um)


class ShearOp(Op):
    """Slants x by y, then y by x."""

    op: Literal["shear"]
    degrees: Annotated[Range, Field(description="within -45 to 45")] = (-8.0, 8.0)

    @model_validator(mode="after")
    def _below_45(self) -> Self:
        if max(map(abs, self.degrees)) >= 45:
            raise ValueError("degrees must lie between -45 and 45")
        return self

    def draw(self, random: np.random.Generator) -> XY:
        x, y = pair(random, self.degrees)
        return math.tan(math.radians(x)), math.tan(math.radians(y))


class XYJitterOp(Op):
    """XY coordinate jitter: the place on the slide that the patch is centred on, along the slide's axes."""

    op: Literal["xy_jitter"]
    um: Range = (-16.0, 16.0)

    def draw(self, random: np.random.Generator) -> XY:
        return pair(random, self.um)


class ElasticOp(Op):
    """Smooth local deformation, as tissue has it between fixing and mounting."""

    op: Literal["elastic"]
    cell_um: Factor = (40.0, 80.0)
    sigma_um: Strength = (1.0, 6.0)

    @model_validator(mode="after")
    def _no_folds(self) -> Self:
        if self.sigma_um[1] > 0.2 * self.cell_um[0]:
            raise ValueError("sigma_um above a fifth of cell_um would fold the tissue over itself")
        return self

    def draw(self, random: np.random.Generator) -> Elastic:
        return Elastic(uniform(random, self.cell_um), uniform(random, self.sigma_um), seed(random))


class GridDistortionOp(Op):
    """Stretches and squeezes stripes of tissue. limit: displacement of a grid line, as a part of its cell."""

    op: Literal["grid_distortion"]
    cell_um: Factor = (48.0, 96.0)
    limit: Strength = (0.05, 0.2)

    @model_validator(mode="after")
    def _no_folds(self) -> Self:
        if self.limit[1] >= 0.5:
            raise ValueError("limit must be below 0.5, or lines of the grid would cross")
        return self

    def draw(self, random: np.random.Generator) -> GridDistortion:
        cell = uniform(random, self.cell_um)
        return GridDistortion(cell, cell * uniform(random, self.limit), seed(random))


class OpticalDistortionOp(Op):
    """A lens' barrel (k > 0) or pincushion (k < 0). k is the stretch at `radius_um` from the centre."""

    op: Literal["optical_distortion"]
    k: Range = (-0.1, 0.1)
    radius_um: Positive = 512.0

    @model_validator(mode="after")
    def _no_folds(self) -> Self:
        if self.k[0] <= -1 / 6:
            raise ValueError("k must be above -0.166, or the corners of a field of 2 radius_um would fold over")
        return self

    def draw(self, random: np.random.Generator) -> OpticalDistortion:
        return OpticalDistortion(uniform(random, self.k), self.radius_um)


GeometryOp = (
    RotateOp
    | FlipOp
    | CropOp
    | RescaleOp
    | ShiftOp
    | ShearOp
    | XYJitterOp
    | ElasticOp
    | GridDistortionOp
    | OpticalDistortionOp
)
