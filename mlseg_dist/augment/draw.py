"""Parameters of one augmented sample: a pure function of (policy, seed, phase, draw index)."""

import math
from dataclasses import dataclass

from mlseg_core.randomness import generator
from mlseg_dist.config import PolicyConfig


@dataclass(frozen=True)
class Parameters:
    """One physical transform and one colour draw. angle: radians; zoom > 1 magnifies; shift: µm (x, y); blur: sigma in µm."""

    angle: float
    zoom: float
    mirror: bool
    shift_um: tuple[float, float]
    brightness: float
    contrast: float
    hue: float
    saturation: float
    noise: float
    noise_seed: int
    blur_um: float


def draw_parameters(policy: PolicyConfig, seed: int, phase: str, draw_index: int) -> Parameters:
    """Every number is drawn whether the policy uses it or not, so that switching one operation leaves the others as they were."""
    random = generator(seed, "augment", phase, draw_index)
    u = random.random(12)
    signed = 2 * u - 1
    low, high = policy.rescale
    return Parameters(
        angle=2 * math.pi * u[0] if policy.rotate else 0.0,
        zoom=math.exp(math.log(low) + u[1] * (math.log(high) - math.log(low))),
        mirror=bool(policy.flip and u[2] < 0.5),
        shift_um=(policy.shift_um * signed[3], policy.shift_um * signed[4]),
        brightness=1 + policy.brightness * signed[5],
        contrast=1 + policy.contrast * signed[6],
        hue=policy.hue * signed[7],
        saturation=1 + policy.saturation * signed[8],
        noise=policy.noise * u[9],
        noise_seed=int(u[10] * 2**31),
        blur_um=policy.blur_um * u[11],
    )
