"""Ranges of an op's strengths, as a policy gives them, and how a number is drawn from one."""

import math
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, Field

from mlseg_core.config import Strict


def _ordered(limits: tuple[float, float]) -> tuple[float, float]:
    if limits[0] > limits[1]:
        raise ValueError("a range is [least, greatest]")
    return limits


Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Range = Annotated[tuple[Number, Number], AfterValidator(_ordered)]
"""[least, greatest]; drawn uniformly."""
Strength = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], AfterValidator(_ordered)]
"""A range of numbers from 0."""
Factor = Annotated[tuple[Positive, Positive], AfterValidator(_ordered)]
"""A range of numbers above 0."""
Turn = Annotated[
    tuple[Annotated[float, Field(ge=-0.5, le=0.5)], Annotated[float, Field(ge=-0.5, le=0.5)]], AfterValidator(_ordered)
]
"""A range of parts of a circle."""


class Op(Strict):
    """What all ops share. Each has a field `op`, its name."""

    p: Fraction = 1.0
    """Probability that the op is drawn."""

    @property
    def stream(self) -> str:
        """What its draws are keyed by, and what it is called; a policy has each once."""
        name: str = self.op  # type: ignore[attr-defined]
        return name


def uniform(random: np.random.Generator, limits: tuple[float, float]) -> float:
    return float(limits[0] + (limits[1] - limits[0]) * random.random())


def log_uniform(random: np.random.Generator, limits: tuple[float, float]) -> float:
    """As likely to halve as to double."""
    return math.exp(uniform(random, (math.log(limits[0]), math.log(limits[1]))))


def pair(random: np.random.Generator, limits: tuple[float, float]) -> tuple[float, float]:
    return uniform(random, limits), uniform(random, limits)


def seed(random: np.random.Generator) -> int:
    """For what is too large to be drawn number by number."""
    return int(random.integers(2**63))
