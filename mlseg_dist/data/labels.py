"""Sidecar labels: class and confidence of a pixel in one byte, which of them a round accepts, and how they join human labels.

Byte = class * 21 + level, level = probability rounded down in steps of .05 (0 … 20); 255 = no prediction. Thresholds
in steps of .05 are therefore exact and are applied when labels are read.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from mlseg_dist.config import CLASSES, IGNORED, VIEWS, LabelConfig, ViewName

LEVELS = 21


def encode(probabilities: np.ndarray) -> np.ndarray:
    """Class probabilities float (C, H, W) -> uint8 (H, W)."""
    return encode_batch(torch.from_numpy(probabilities)[None], 1)[0].numpy()


def encode_batch(probabilities: torch.Tensor, stride: int) -> torch.Tensor:
    """Class probabilities float (B, C, H, W), averaged over stride x stride px -> uint8 (B, H/stride, W/stride), same device."""
    if stride > 1:
        probabilities = F.avg_pool2d(probabilities, stride)
    best, classes = probabilities.max(dim=1)
    level = torch.floor(best * (LEVELS - 1) + 1e-6)
    return (classes * LEVELS + level).to(torch.uint8)


def level_of(threshold: float) -> int:
    return round(threshold * (LEVELS - 1))


def decode(codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Accepted classes, uint8; 255 for what is not sure enough, and where nothing was predicted. table: Accepting.table(view)."""
    classes: np.ndarray = table[codes]
    return classes


def block_mode(codes: np.ndarray, block: int) -> np.ndarray:
    """Codes of block x block cells: the class where the whole block agrees, with its least level; mixed = 255."""
    height, width = codes.shape[0] // block, codes.shape[1] // block
    whole = codes[: height * block, : width * block].reshape(height, block, width, block)
    cells = whole.swapaxes(1, 2).reshape(height, width, block * block)
    classes = cells // LEVELS
    same = (classes == classes[..., :1]).all(axis=-1) & (cells != IGNORED).all(axis=-1)
    return np.where(same, cells.min(axis=-1), IGNORED).astype(np.uint8)


def low_from_high(
    high_codes: np.ndarray, low_codes: np.ndarray | None, ratio: int, high_table: np.ndarray
) -> np.ndarray:
    """Low codes: the centre from the high prediction by block mode, elsewhere the low head's or 255.

    Where both exist in the centre, an accepted high block beats low. Both maps have one shape and stride. high_table: what of the
    high view is accepted.
    """
    low = np.full_like(high_codes, IGNORED) if low_codes is None else low_codes.copy()
    block = block_mode(high_codes, ratio)
    top, left = (low.shape[0] - block.shape[0]) // 2, (low.shape[1] - block.shape[1]) // 2
    inner = low[top : top + block.shape[0], left : left + block.shape[1]]
    accepted = decode(block, high_table) != IGNORED
    inner[accepted] = block[accepted]
    if low_codes is None:
        inner[:] = block
    return low


def join(human: np.ndarray, codes: np.ndarray, table: np.ndarray) -> np.ndarray:
    """Training classes, uint8: human pixels win; elsewhere what the teacher's round accepts; else 255.

    codes may be at 1/2 or 1/4 of the human label's resolution. table: see decode.
    """
    accepted = decode(codes, table)
    if accepted.shape != human.shape:
        accepted = cv2.resize(accepted, human.shape[::-1], interpolation=cv2.INTER_NEAREST)
    return np.where(human != IGNORED, human, accepted)


NEVER = LEVELS
"""Level of a class that is not accepted at all."""


@dataclass(frozen=True)
class Accepting:
    """Least level (LEVELS, steps of .05) of an accepted pixel, for each training class; NEVER accepts none."""

    high: tuple[int, ...]
    low: tuple[int, ...]

    @classmethod
    def from_threshold(cls, threshold: float) -> Self:
        """One threshold for all classes and both views."""
        levels = (level_of(threshold),) * len(CLASSES)
        return cls(levels, levels)

    @classmethod
    def from_settings(cls, settings: LabelConfig) -> Self:
        """What a config asks for: one threshold, or one for each class, view or both."""
        return cls(*(tuple(level_of(settings.threshold_of(view, name)) for name in CLASSES) for view in VIEWS))

    def levels(self, view: ViewName) -> tuple[int, ...]:
        return self.high if view == "high" else self.low

    def table(self, view: ViewName) -> np.ndarray:
        """Code -> accepted class, or 255; uint8 (256,)."""
        out = np.full(256, IGNORED, np.uint8)
        for number, level in enumerate(self.levels(view)):
            first = number * LEVELS
            out[first + level : first + LEVELS] = number
        return out

    def to_json(self) -> dict[str, dict[str, float | None]]:
        """View -> class -> threshold; None: never."""
        return {
            view: {
                name: None if level >= NEVER else level / (LEVELS - 1)
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
        return tuple(NEVER if threshold is None else level_of(threshold) for threshold in each)


def of_round(facts: Mapping[str, Any]) -> Accepting:
    """What a round's manifest says. facts: its own. Earlier rounds have one threshold for all."""
    if "accepting" in facts:
        return Accepting.from_json(facts["accepting"])
    return Accepting.from_threshold(facts["threshold"])


def in_words(accepting: Accepting) -> str:
    """`from .9`, or each class of the high view: `background from .9, tumour never, others from .95`."""
    if accepting.high == accepting.low and len(set(accepting.high)) == 1 and accepting.high[0] < NEVER:
        return f"from {accepting.high[0] / (LEVELS - 1):g}"
    return ", ".join(_said(name, level) for name, level in zip(CLASSES, accepting.high, strict=True))


def _said(name: str, level: int) -> str:
    return f"{name} never" if level >= NEVER else f"{name} from {level / (LEVELS - 1):g}"


def heads_of_views(answers: Mapping[str, Any]) -> dict[ViewName, str]:
    """Which head speaks of which view: the merged one, or else the high one, of the high view."""
    found: dict[ViewName, str] = {}
    high = next((head for head in ("merged", "high") if head in answers), None)
    if high is not None:
        found["high"] = high
    if "low" in answers:
        found["low"] = "low"
    return found


def on_slide(codes: np.ndarray, outside: np.ndarray | None) -> np.ndarray:
    """A view's codes, 255 outside of the slide. outside: bool of the same shape; None: nowhere."""
    return codes if outside is None else np.where(outside, np.uint8(IGNORED), codes)


def codes_of_views(
    codes: Mapping[str, np.ndarray], ratio: int, high_table: np.ndarray, outside: Mapping[str, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Codes of a pair's high and low view, uint8 of one shape.

    high_table: what is accepted of the high view (Accepting). outside: view -> cells that lie off the slide (Outside.of).
    """
    heads = heads_of_views(codes)
    high, low = (on_slide(codes[heads[view]], outside.get(view)) if view in heads else None for view in ("high", "low"))
    if high is not None:
        low = low_from_high(high, low, ratio, high_table)
    elif low is not None:  # a base on the low view says nothing about high pixels
        high = np.full_like(low, IGNORED)
    assert high is not None and low is not None
    return high, low
