"""Example pictures: one PNG a sample, `high | low | truth | prediction of the first step | of the last`."""

import io
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.corpus import PairRef
from mlseg_dist.data.views import Views
from mlseg_dist.report.style import CLASS_COLOURS, INK, rgb

TILE_PX = 224
GAP_PX = 8
HEADER_PX = 22
COLOURS = np.array([rgb(CLASS_COLOURS[name]) for name in CLASSES], np.float32)
MIN_LABELLED = 0.05
"""Least labelled part of a pair that is worth a picture."""


@dataclass(frozen=True)
class Choice:
    """A pair to show. dominant: its most frequent true class. good: from the better or the worse third of its class."""

    ref: PairRef
    dominant: str
    good: bool
    accuracy: float


def choose(
    refs: Sequence[PairRef], confusion_of: dict[str, np.ndarray], count: int, random: np.random.Generator
) -> list[Choice]:
    """A varied choice: classes in turn, good and bad in turn, slides that are not shown yet first.

    confusion_of: key -> (3, 3) of the step whose good and bad are meant.
    """
    pool = _pool(refs, confusion_of)
    chosen: list[Choice] = []
    slides: dict[str, int] = {}
    for slot in range(count):
        wanted, good = CLASSES[(slot + 1) % len(CLASSES)], slot // len(CLASSES) % 2 == 0
        left = [c for c in pool if c.ref.key not in {d.ref.key for d in chosen}]
        left = [c for c in left if c.dominant == wanted] or left
        if not left:
            break
        left.sort(key=lambda c: (-c.accuracy if good else c.accuracy, c.ref.key))
        third = left[: max(1, -(-len(left) // 3))]
        fewest = min(slides.get(c.ref.slide, 0) for c in third)
        third = [c for c in third if slides.get(c.ref.slide, 0) == fewest]
        pick = third[int(random.integers(len(third)))]
        chosen.append(Choice(pick.ref, pick.dominant, good, pick.accuracy))
        slides[pick.ref.slide] = slides.get(pick.ref.slide, 0) + 1
    return chosen


def _pool(refs: Sequence[PairRef], confusion_of: dict[str, np.ndarray]) -> list[Choice]:
    most = max((int(matrix.sum()) for matrix in confusion_of.values()), default=0)
    pool = []
    for ref in refs:
        matrix = confusion_of[ref.key]
        if matrix.sum() > MIN_LABELLED * most:
            dominant = CLASSES[int(matrix.sum(axis=1).argmax())]
            pool.append(Choice(ref, dominant, True, float(np.trace(matrix) / matrix.sum())))
    return pool


def draw(views: Views, predictions: Sequence[np.ndarray], titles: Sequence[str], ratio: int) -> bytes:
    """PNG of one sample. predictions: class maps (S, S); titles: of all the tiles."""
    tiles = [
        _enlarge(views.high),
        _with_field(_enlarge(views.low), ratio),
        overlay(_enlarge(views.high), _enlarge_label(views.high_label)),
        *(overlay(_enlarge(views.high), _enlarge_label(label)) for label in predictions),
    ]
    width = len(tiles) * TILE_PX + (len(tiles) - 1) * GAP_PX
    sheet = Image.new("RGB", (width, HEADER_PX + TILE_PX), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(13)
    for number, (tile, title) in enumerate(zip(tiles, titles, strict=True)):
        left = number * (TILE_PX + GAP_PX)
        pen.text((left, 2), title, fill=INK, font=font)
        sheet.paste(Image.fromarray(tile), (left, HEADER_PX))
    data = io.BytesIO()
    sheet.save(data, "PNG")
    return data.getvalue()


def overlay(image: np.ndarray, label: np.ndarray, strength: float = 0.42) -> np.ndarray:
    """Class colours over an RGB image, edges drawn full; ignored pixels are paled."""
    out = image.astype(np.float32)
    known = label != IGNORED
    out[known] = (1 - strength) * out[known] + strength * COLOURS[label[known]]
    out[~known] = 0.35 * out[~known] + 0.65 * 255
    edge = cv2.morphologyEx(label, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    edge &= known
    out[edge] = COLOURS[label[edge]]
    return out.round().astype(np.uint8)


def _enlarge(image: np.ndarray) -> np.ndarray:
    way = cv2.INTER_AREA if image.shape[0] > TILE_PX else cv2.INTER_CUBIC
    return cv2.resize(image, (TILE_PX, TILE_PX), interpolation=way)


def _enlarge_label(label: np.ndarray) -> np.ndarray:
    return cv2.resize(label, (TILE_PX, TILE_PX), interpolation=cv2.INTER_NEAREST)


def _with_field(low: np.ndarray, ratio: int) -> np.ndarray:
    """The high view's field as a rectangle on the low view."""
    side = TILE_PX // ratio
    first = (TILE_PX - side) // 2
    out = low.copy()
    for colour, thickness in (((255, 255, 255), 4), ((20, 24, 32), 2)):
        cv2.rectangle(out, (first, first), (first + side, first + side), colour, thickness)
    return out
