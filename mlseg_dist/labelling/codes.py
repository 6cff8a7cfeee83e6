"""Codes of a network's heads -> codes of a pair's two views."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mlseg_dist.config import IGNORED
from mlseg_dist.data import labels
from mlseg_dist.data.accepting import ViewName


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
        low = labels.low_from_high(high, low, ratio, high_table)
    elif low is not None:  # a base on the low view says nothing about high pixels
        high = np.full_like(low, IGNORED)
    assert high is not None and low is not None
    return high, low
