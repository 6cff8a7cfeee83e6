"""Ops of lens, stage and camera: blurs, relief and noise. Blurs are in µm, so that they fade on the low view as they must."""

import math
from typing import Literal

import numpy as np

from mlseg_dist.augment.parameters import Emboss, GlassBlur, MotionBlur, Noise
from mlseg_dist.augment.ranges import Factor, Op, Positive, Strength, seed, uniform

HALF_TURN = (0.0, math.pi)
FULL_TURN = (0.0, 2 * math.pi)


class GaussianBlurOp(Op):
    """Out of focus."""

    op: Literal["gaussian_blur"]
    sigma_um: Strength = (0.0, 0.8)

    def draw(self, random: np.random.Generator) -> float:
        return uniform(random, self.sigma_um)


class GlassBlurOp(Op):
    """As through frosted glass: pixels are taken from up to `radius_um` beside, then smoothed. Labels stay."""

    op: Literal["glass_blur"]
    radius_um: Strength = (0.5, 1.5)
    sigma_um: Strength = (0.2, 0.4)

    def draw(self, random: np.random.Generator) -> GlassBlur:
        return GlassBlur(uniform(random, self.radius_um), uniform(random, self.sigma_um), seed(random))


class MotionBlurOp(Op):
    """The stage moved while the camera looked."""

    op: Literal["motion_blur"]
    length_um: Factor = (1.0, 4.0)

    def draw(self, random: np.random.Generator) -> MotionBlur:
        return MotionBlur(uniform(random, self.length_um), uniform(random, HALF_TURN))


class EmbossOp(Op):
    """Edges in relief, lit from any side."""

    op: Literal["emboss"]
    strength: Strength = (0.2, 0.6)
    step_um: Positive = 0.5

    def draw(self, random: np.random.Generator) -> Emboss:
        return Emboss(uniform(random, self.strength), self.step_um, uniform(random, FULL_TURN))


class GaussianNoiseOp(Op):
    """Read noise: the same at every brightness. sigma: grey levels."""

    op: Literal["gaussian_noise"]
    sigma: Strength = (0.0, 8.0)

    def draw(self, random: np.random.Generator) -> Noise:
        return Noise(uniform(random, self.sigma), seed(random))


class RandomNoiseOp(Op):
    """The paper's "random noise", read as shot noise (ours): it grows with the root of the light. sigma: grey levels at white."""

    op: Literal["random_noise"]
    sigma: Strength = (0.0, 8.0)

    def draw(self, random: np.random.Generator) -> Noise:
        return Noise(uniform(random, self.sigma), seed(random))


OpticsOp = GaussianBlurOp | GlassBlurOp | MotionBlurOp | EmbossOp | GaussianNoiseOp | RandomNoiseOp
