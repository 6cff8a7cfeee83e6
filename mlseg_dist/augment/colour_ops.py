"""Ops of stain and scanner: brightness, contrast, hues. One draw for both views."""

from typing import Annotated, ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from mlseg_core.config import StableDump
from mlseg_dist.augment.parameters import Clahe, Contrast, Jitter, StainShift, Triple
from mlseg_dist.augment.ranges import Factor, Fraction, Op, Positive, Range, Turn, log_uniform, uniform

Grey = Annotated[float, Field(ge=0, le=255)]
Degrees = Annotated[float, Field(ge=0, le=360)]
PIVOT = 200.0
"""Grey level that contrast turns about: the mean of bright-field patches, fixed so that both views get the same curve."""


class BrightnessOp(Op):
    """v -> factor x v."""

    op: Literal["brightness"]
    factor: Factor = (0.85, 1.15)

    def draw(self, random: np.random.Generator) -> float:
        return uniform(random, self.factor)


class ContrastOp(Op):
    """v -> pivot + factor x (v − pivot)."""

    op: Literal["contrast"]
    factor: Factor = (0.85, 1.15)
    pivot: Grey = PIVOT

    def draw(self, random: np.random.Generator) -> Contrast:
        return Contrast(uniform(random, self.factor), self.pivot)


class GammaOp(Op):
    """v -> 255 (v / 255)^gamma; drawn log-uniformly."""

    op: Literal["gamma"]
    gamma: Factor = (0.8, 1.25)

    def draw(self, random: np.random.Generator) -> float:
        return log_uniform(random, self.gamma)


class ClaheOp(Op):
    """Contrast-limited adaptive histogram equalisation of lightness (L of CIELAB), tiles of `tile_um`."""

    op: Literal["clahe"]
    clip: Factor = (1.0, 3.0)
    tile_um: Positive = 64.0

    def draw(self, random: np.random.Generator) -> Clahe:
        return Clahe(uniform(random, self.clip), self.tile_um)


class PcaOp(Op):
    """Fancy PCA (Krizhevsky 2012): adds a colour along the principal axes of stained tissue's colours.

    The axes are fixed, as Krizhevsky's were: those of the pixels of skimage.data.immunohistochemistry() (DAB, haematoxylin).
    """

    op: Literal["pca"]
    sigma: Positive = 0.1
    """Standard deviation of the colour along an axis, in units of `spread`."""
    spread: tuple[Positive, Positive, Positive] = (87.83, 15.52, 2.27)
    """Standard deviation of the tissue's colours along each axis, grey levels."""
    axes: tuple[Triple, Triple, Triple] = ((0.406, 0.567, 0.717), (0.752, 0.238, -0.615), (0.519, -0.789, 0.330))
    """Unit vectors (R, G, B)."""

    def draw(self, random: np.random.Generator) -> Triple:
        along = random.standard_normal(3) * self.sigma * np.array(self.spread)
        red, green, blue = (along @ np.array(self.axes)).tolist()
        return red, green, blue


class ColourJitterOp(Op):
    """Brightness, contrast and saturation by factors, hue by a turn."""

    op: Literal["colour_jitter"]
    brightness: Factor = (0.85, 1.15)
    contrast: Factor = (0.85, 1.15)
    saturation: Factor = (0.85, 1.15)
    hue: Turn = (-0.02, 0.02)
    pivot: Grey = PIVOT

    def draw(self, random: np.random.Generator) -> Jitter:
        return Jitter(
            uniform(random, self.brightness),
            Contrast(uniform(random, self.contrast), self.pivot),
            uniform(random, self.saturation),
            uniform(random, self.hue),
        )


class HeavyColourOp(Op):
    """Extreme hues, so that the network must go by morphology; `gain` stains R, G and B apart."""

    op: Literal["heavy_colour"]
    brightness: Factor = (0.7, 1.3)
    contrast: Factor = (0.7, 1.3)
    saturation: Factor = (0.5, 1.5)
    hue: Turn = (-0.5, 0.5)
    gain: Factor = (0.8, 1.2)
    pivot: Grey = PIVOT

    def draw(self, random: np.random.Generator) -> Jitter:
        return Jitter(
            uniform(random, self.brightness),
            Contrast(uniform(random, self.contrast), self.pivot),
            uniform(random, self.saturation),
            uniform(random, self.hue),
            (uniform(random, self.gain), uniform(random, self.gain), uniform(random, self.gain)),
        )


class Stain(StableDump):
    """Pixels of one stain, found by hue, and the ranges of Table 6 by which S and V of 0 to 255 are shifted there."""

    added_later: ClassVar = ("dark",)

    hue: tuple[Degrees, Degrees]
    """Window in degrees, [from, to]; from above to goes across 0. Ours: the paper gives none."""
    soft: Annotated[float, Field(ge=0, le=90)] = 8.0
    """Degrees beyond the window over which the shift falls to nothing."""
    stained: tuple[Grey, Grey]
    """S up to which a pixel is unstained (glass, stroma), and from which it is fully stained. Ours."""
    dark: tuple[Grey, Grey] | None = None
    """V up to which a pixel may be fully stained, and from which it is unstained; None: of any V. Ours.

    Haematoxylin and DAB lie in cytoplasm and stroma too, but thinner: nuclei are darker. Keep the two some 30 or more apart: a
    narrow step turns small differences of V, noise above all, into large ones.
    """
    saturation: Range
    value: Range
    p: Fraction = 1.0
    """Probability that this stain is shifted."""

    @model_validator(mode="after")
    def _rising(self) -> Self:
        if not self.stained[0] < self.stained[1]:
            raise ValueError("stained is [unstained up to, fully stained from], the first below the second")
        if self.dark is not None and not self.dark[0] < self.dark[1]:
            raise ValueError("dark is [fully stained up to, unstained from], the first below the second")
        return self

    def draw(self, random: np.random.Generator) -> StainShift:
        shifts = uniform(random, self.saturation), uniform(random, self.value)
        return self.shift(*shifts)

    def shift(self, saturation: float, value: float) -> StainShift:
        """Where this stain lies, with what is added to S and V there."""
        return StainShift(self.hue, self.soft, *self.stained, saturation, value, self.dark)


class TargetedHsvOp(Op):
    """Targeted HSV (Table 6): shifts stained pixels only. The printed limits 81 and 61 are exclusive: 80 and 60 here.

    These defaults go by hue and S alone, as in runs made before there was `dark`, and hit a third to a half of real IHC. Take the
    windows of configs/augment/table8.yaml, or your own. `mlseg augment hits` shows what windows hit;
    benchmarks/results/targeted-hsv.md counts it.
    """

    op: Literal["targeted_hsv"]
    stains: dict[str, Stain] = {
        "brown": Stain(hue=(5, 50), stained=(30, 55), saturation=(-30, 80), value=(-80, 80)),
        "blue": Stain(hue=(190, 290), stained=(18, 34), saturation=(-40, 60), value=(-60, 60)),
    }

    def draw(self, random: np.random.Generator) -> tuple[StainShift, ...]:
        drawn = [(random.random() < stain.p, stain.draw(random)) for _, stain in sorted(self.stains.items())]
        return tuple(shift for is_drawn, shift in drawn if is_drawn)


ColourOp = BrightnessOp | ContrastOp | GammaOp | ClaheOp | PcaOp | ColourJitterOp | HeavyColourOp | TargetedHsvOp
