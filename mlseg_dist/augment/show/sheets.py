"""Contact sheets: a pair as stored and as drawn, high views above low ones; borders of classes, and the high field framed."""

from collections.abc import Sequence

import cv2
import numpy as np

from mlseg_dist.augment import Parameters, augment, draw_parameters
from mlseg_dist.augment.policy import OpConfig
from mlseg_dist.augment.show.sources import Sources
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.views import Views
from mlseg_dist.report.look import CLASS_COLOURS, rgb

TILE_PX, GAP_PX = 168, 4
_PAPER = 255


def sheet(sources: Sources, ops: tuple[OpConfig, ...], seed: int, phase: str, draws: int) -> np.ndarray:
    """RGB: first column as stored, then the first `draws` draws of the phase."""
    views, patch = sources.views[sources.chosen], sources.config.train.patch_px
    drawn = [Parameters(), *(draw_parameters(ops, seed, phase, index) for index in range(draws))]
    share = sources.mpp["high"] / sources.mpp["low"]
    return _joined([column(augment(views, p, sources.mpp, patch), share) for p in drawn])


def column(views: Views, share: float) -> np.ndarray:
    """High above low, each TILE_PX a side. share: of the low view's side that the high view spans."""
    high, low = (_tile(getattr(views, view), getattr(views, f"{view}_label")) for view in ("high", "low"))
    first, last = round(TILE_PX * (1 - share) / 2), round(TILE_PX * (1 + share) / 2)
    for colour, width in ((255, 3), (30, 1)):
        cv2.rectangle(low, (first, first), (last, last), (colour,) * 3, width)
    gap = np.full((GAP_PX, TILE_PX, 3), _PAPER, np.uint8)
    return np.concatenate([high, gap, low])


def _joined(columns: Sequence[np.ndarray]) -> np.ndarray:
    """The first set apart from the draws."""
    parts = [columns[0], np.full((len(columns[0]), 4 * GAP_PX, 3), _PAPER, np.uint8)]
    for number, part in enumerate(columns[1:]):
        if number:
            parts.append(np.full((len(part), GAP_PX, 3), _PAPER, np.uint8))
        parts.append(part)
    return np.concatenate(parts, 1)


def _tile(image: np.ndarray, label: np.ndarray) -> np.ndarray:
    size = (TILE_PX, TILE_PX)
    shrinks = len(image) > TILE_PX
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC)
    classes = cv2.resize(label, size, interpolation=cv2.INTER_NEAREST)
    unlabelled = classes == IGNORED
    small[unlabelled] = (0.45 * small[unlabelled] + 0.55 * _PAPER).round()
    edges = cv2.morphologyEx(classes, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    for number, name in enumerate(CLASSES):
        small[edges & (classes == number)] = rgb(CLASS_COLOURS[name])
    return small
