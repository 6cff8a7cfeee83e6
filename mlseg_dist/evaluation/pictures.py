"""Example pictures: one PNG a sample, `high | low | truth | prediction of the first step | of the last`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mlseg_dist.config import CLASSES
from mlseg_dist.data.corpus import PairRef
from mlseg_dist.data.views import Views
from mlseg_dist.evaluation.drawn import png
from mlseg_dist.evaluation.figures import iou
from mlseg_dist.report.look import INK
from mlseg_dist.report.overlay import overlay

FONT = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
"""Comes with matplotlib; the font inside Pillow has no µ."""
TILE_PX = 224
GAP_PX = 8
HEADER_PX = 22
MIN_LABELLED = 0.05
"""Least labelled part of a pair that is worth a picture."""
MIN_SHARE = 0.15
"""Least part of a pair's labelled pixels for a class to be shown with it."""
TURNS = ("tumour", "others", "background")


@dataclass(frozen=True)
class Choice:
    """A pair to show. shown: the class that it is shown for; good: from the better or the worse third of that class.

    iou: of that class on this pair.
    """

    ref: PairRef
    shown: str
    good: bool
    iou: float


def choose(
    refs: Sequence[PairRef], confusion_of: dict[str, np.ndarray], count: int, random: np.random.Generator
) -> list[Choice]:
    """A varied choice: for each class in turn a good and a bad one, slides that are not shown yet first.

    confusion_of: key -> (3, 3) of the step whose good and bad are meant.
    """
    pool = _pool(refs, confusion_of)
    chosen: list[Choice] = []
    slides: dict[str, int] = {}
    for slot in range(count):
        wanted, good = TURNS[slot // 2 % len(TURNS)], slot % 2 == 0
        taken = {choice.ref.key for choice in chosen}
        left = [choice for choice in pool if choice.ref.key not in taken]
        left = [choice for choice in left if choice.shown == wanted] or left
        if not left:
            break
        left.sort(key=lambda choice: (-choice.iou if good else choice.iou, choice.ref.key))
        third = left[: -(-len(left) // 3)]
        fewest = min(slides.get(choice.ref.slide, 0) for choice in third)
        third = [choice for choice in third if slides.get(choice.ref.slide, 0) == fewest]
        pick = third[int(random.integers(len(third)))]
        chosen.append(Choice(pick.ref, pick.shown, good, pick.iou))
        slides[pick.ref.slide] = slides.get(pick.ref.slide, 0) + 1
    return chosen


def _pool(refs: Sequence[PairRef], confusion_of: dict[str, np.ndarray]) -> list[Choice]:
    """Each pair worth a picture, for the class that is rarest in the split among those that the pair has enough of."""
    most = max((int(matrix.sum()) for matrix in confusion_of.values()), default=0)
    total = sum(confusion_of.values(), np.zeros((len(CLASSES), len(CLASSES)), np.int64)).sum(axis=1)
    pool = []
    for ref in refs:
        matrix = confusion_of[ref.key]
        if matrix.sum() > MIN_LABELLED * most:
            shares = matrix.sum(axis=1) / matrix.sum()
            number = min(np.flatnonzero(shares >= MIN_SHARE), key=lambda c: total[c])
            pool.append(Choice(ref, CLASSES[number], True, float(iou(matrix)[number])))
    return pool


def draw(views: Views, predictions: Sequence[np.ndarray], titles: Sequence[str], ratio: int) -> bytes:
    """PNG of one sample. predictions: class maps (S, S); titles: of all the tiles."""
    tiles = [
        _enlarge(views.high),
        _with_field(_enlarge(views.low), ratio),
        overlay(_enlarge(views.high), _enlarge_label(views.high_label)),
        *(overlay(_enlarge(views.high), _enlarge_label(label)) for label in predictions),
    ]
    return png(side_by_side(tiles, titles, TILE_PX))


def side_by_side(tiles: Sequence[np.ndarray], titles: Sequence[str], tile_px: int) -> Image.Image:
    """Tiles in a row, each under its title. tiles: uint8 RGB of one height, at most `tile_px` wide."""
    width = len(tiles) * tile_px + (len(tiles) - 1) * GAP_PX
    sheet = Image.new("RGB", (width, HEADER_PX + len(tiles[0])), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.truetype(FONT, 12)
    for number, (tile, title) in enumerate(zip(tiles, titles, strict=True)):
        left = number * (tile_px + GAP_PX)
        pen.text((left, 2), title, fill=INK, font=font)
        sheet.paste(Image.fromarray(tile), (left, HEADER_PX))
    return sheet


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
