"""Which pixels of a picture targeted_hsv shifts. In: the op of a config, pictures or slides. Out: a PNG of each, and shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mlseg_core.errors import UserError
from mlseg_core.files import write_atomic
from mlseg_core.own import refuse_foreign
from mlseg_dist.augment.colour_ops import TargetedHsvOp
from mlseg_dist.augment.cpu import shift_stains, stain_weight
from mlseg_dist.config import LearningConfig, StepConfig
from mlseg_dist.evaluation.drawn import is_drawn, png
from mlseg_dist.evaluation.pictures import side_by_side
from shards.pixels import read_tile, tile_size
from shards.reader import SlideReader

TILE_PX = 512
HIT = 0.5
"""Least weight of a pixel that counts as hit: it gets half of the shift or more."""
FIELD_PX = 2048
"""Most pixels of a side of the field of a slide, and of a picture that is taken whole."""
_THUMBNAIL_PX = 1024
_PALED = 0.8


@dataclass(frozen=True)
class Hits:
    """path: the PNG. shares: stain -> share of the picture's pixels that are hit, 0 to 1."""

    path: Path
    shares: dict[str, float]


def stains_of(config: LearningConfig) -> tuple[TargetedHsvOp, StepConfig]:
    """The first targeted_hsv of the steps, and its step. Raises UserError where no step has one."""
    for step in config.steps:
        for op in step.augment:
            if isinstance(op, TargetedHsvOp):
                return op, step
    raise UserError("no step's policy has targeted_hsv", "steps", "Give a config that does: configs/paper.yaml.")


def write(op: TargetedHsvOp, images: Sequence[Path], out: Path, mpp: float, given_mpp: float | None) -> list[Hits]:
    """Write OUT/hits-NAME.png of each image. mpp: µm/px at which slides are read; given_mpp: of slides that do not say theirs.

    Raises UserError, before anything is written: a picture that cannot be read, two of one name, somebody else's file.
    """
    targets = {path: out / f"hits-{path.name}.png" for path in images}
    if len(set(targets.values())) < len(images):
        raise UserError("two images have the same name", out, "Give each image once, or one call each with --out.")
    refuse_foreign(targets.values(), is_drawn)
    found = [(target, read(path, mpp, given_mpp)) for path, target in targets.items()]
    out.mkdir(parents=True, exist_ok=True)
    hits = []
    for target, image in found:
        write_atomic(target, picture(op, image))
        hits.append(Hits(target, {name: float((weight >= HIT).mean()) for name, weight in weights(op, image).items()}))
    return hits


def read(path: Path, mpp: float, given_mpp: float | None = None) -> np.ndarray:
    """uint8 RGB: a picture whole, or of a slide the most coloured square at `mpp` µm/px. Raises UserError."""
    if not path.is_file():
        raise UserError("no such image", path, "Give files: pictures (PNG, JPEG, TIFF) or slides.")
    try:
        width, height = tile_size(path)
    except UserError:
        width, height = FIELD_PX + 1, FIELD_PX + 1  # not a plain picture: perhaps a slide
    if max(width, height) <= FIELD_PX:
        return read_tile(path)
    with SlideReader(path, given_mpp) as slide:
        small = slide.thumbnail(_THUMBNAIL_PX)
        step = slide.size[0] / small.shape[1]
        side = min(
            FIELD_PX, *(max(1, round(length * um / mpp)) for length, um in zip(slide.size, slide.mpp, strict=True))
        )
        x, y = _most_coloured(small, max(1, round(side * mpp / slide.mpp[0] / step)))
        return slide.read((x * step, y * step), mpp, side)[0]


def weights(op: TargetedHsvOp, image: np.ndarray) -> dict[str, np.ndarray]:
    """Stain -> float32 (H, W), 0 to 1: the share of the drawn shift that each pixel gets."""
    return {name: stain_weight(image, stain.shift(0, 0)) for name, stain in sorted(op.stains.items())}


def picture(op: TargetedHsvOp, image: np.ndarray) -> bytes:
    """PNG: the most coloured TILE_PX of the image; what is hit, the rest paled; the least and the greatest shifts."""
    side = min(TILE_PX, *image.shape[:2])
    x, y = _most_coloured(image, side)
    left, top = (
        min(max(0, at - side // 2), length - side) for at, length in ((x, image.shape[1]), (y, image.shape[0]))
    )
    part = np.ascontiguousarray(image[top : top + side, left : left + side])
    hit = np.clip(sum(weights(op, part).values()), 0, 1)[..., None]
    shown = np.rint(part + (1 - hit) * _PALED * (255.0 - part)).astype(np.uint8)
    shifted = [
        shift_stains(part, tuple(s.shift(s.saturation[end], s.value[end]) for _, s in sorted(op.stains.items())))
        for end in (0, 1)
    ]
    titles = [
        "as it is",
        f"hit: {', '.join(sorted(op.stains))}; the rest is paled",
        "least S and V",
        "greatest S and V",
    ]
    return png(side_by_side([part, shown, *shifted], titles, side))


def _most_coloured(image: np.ndarray, side: int) -> tuple[int, int]:
    """Centre (x, y) of the square of `side` px, inside the image where it fits, with the highest mean saturation."""
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1].astype(np.float32)
    side = min(side, *saturation.shape)
    means = cv2.blur(saturation, (side, side), borderType=cv2.BORDER_REPLICATE)
    half = side // 2
    inner = means[half : means.shape[0] - (side - 1 - half), half : means.shape[1] - (side - 1 - half)]
    row, column = np.unravel_index(int(inner.argmax()), inner.shape)
    return int(column) + half, int(row) + half
