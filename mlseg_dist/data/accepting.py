"""Which of a teacher's labels are accepted: the least probability for each view and class."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data import labels

ViewName = Literal["high", "low"]
VIEWS: tuple[ViewName, ...] = ("high", "low")
NEVER = labels.LEVELS
"""Level of a class that is not accepted at all."""


@dataclass(frozen=True)
class Accepting:
    """Least level (labels.LEVELS, steps of .05) of an accepted pixel, for each training class; NEVER accepts none."""

    high: tuple[int, ...]
    low: tuple[int, ...]

    @classmethod
    def from_threshold(cls, threshold: float) -> Self:
        """One threshold for all classes and both views."""
        levels = (labels.level_of(threshold),) * len(CLASSES)
        return cls(levels, levels)

    def levels(self, view: ViewName) -> tuple[int, ...]:
        return self.high if view == "high" else self.low

    def table(self, view: ViewName) -> np.ndarray:
        """Code -> accepted class, or 255; uint8 (256,)."""
        out = np.full(256, IGNORED, np.uint8)
        for number, level in enumerate(self.levels(view)):
            first = number * labels.LEVELS
            out[first + level : first + labels.LEVELS] = number
        return out

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """View -> class -> threshold; None: never."""
        return {
            view: {
                name: None if level >= NEVER else level / (labels.LEVELS - 1)
                for name, level in zip(CLASSES, self.levels(view), strict=True)
            }
            for view in VIEWS
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Mapping[str, float | None]]) -> Self:
        return cls(*(cls._levels(found[view]) for view in VIEWS))

    @staticmethod
    def _levels(thresholds: Mapping[str, float | None]) -> tuple[int, ...]:
        each = (thresholds[name] for name in CLASSES)
        return tuple(NEVER if threshold is None else labels.level_of(threshold) for threshold in each)


def of_round(facts: Mapping[str, Any]) -> Accepting:
    """What a round's manifest says. facts: its own. Earlier rounds have one threshold for all."""
    if "accepting" in facts:
        return Accepting.from_json(facts["accepting"])
    return Accepting.from_threshold(facts["threshold"])


def in_words(accepting: Accepting) -> str:
    """`from .9`, or each class of the high view: `background from .9, tumour never, others from .95`."""
    if accepting.high == accepting.low and len(set(accepting.high)) == 1 and accepting.high[0] < NEVER:
        return f"from {accepting.high[0] / (labels.LEVELS - 1):g}"
    return ", ".join(_said(name, level) for name, level in zip(CLASSES, accepting.high, strict=True))


def _said(name: str, level: int) -> str:
    return f"{name} never" if level >= NEVER else f"{name} from {level / (labels.LEVELS - 1):g}"
