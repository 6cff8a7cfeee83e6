"""The whole truth of a run's train slides: the phantom's truth table in, fine classes of pixels out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from mlseg_core.errors import UserError
from mlseg_dist.data.labels import ViewName
from shards.annotation import Frame, read_annotation
from shards.config import ShardsConfig
from shards.plane import Plane
from shards.reader import open_slide
from shards.slide_table import Slide, read_slide_table

_LABEL_BYTES = 64 << 20
_BUDGET_BYTES = 8 * _LABEL_BYTES  # a Plane keeps an eighth of it for labels; images are never asked for


def truth_table(run: Path) -> Path:
    return run / "data" / "slides" / "truth.csv"


def has_truth(run: Path) -> bool:
    return truth_table(run).is_file()


def train_slides(run: Path) -> dict[str, Slide]:
    """Slug -> row of the truth table. Raises UserError for a run without truth."""
    path = truth_table(run)
    if not path.is_file():
        raise UserError(
            "there is no whole truth to score pseudo-labels against",
            path,
            "Give a run whose phantom writes it: its config has phantom.groups, regions, careless_um or swapped.",
        )
    slides = {slide.slug: slide for slide in read_slide_table(path) if slide.split == "train"}
    for slide in slides.values():
        if slide.annotation is None:
            raise UserError(f"train slide {slide.slide.name} has no annotation", path, "Draw the phantoms again.")
    return slides


class SlideTruth:
    """Fine classes of one slide, uint8; 255 where the truth says nothing: off the slide, and in its outermost µm."""

    def __init__(self, planes: dict[ViewName, Plane], ratio: int) -> None:
        self._planes, self._ratio = planes, ratio

    def view(self, view: ViewName, centre: tuple[int, int], side: int) -> np.ndarray:
        """The view of the pair at `centre` (row, column; px of the high view), (side, side). The array is the caller's."""
        row, column = centre if view == "high" else (at // self._ratio for at in centre)
        return self._planes[view].label(column - side // 2, row - side // 2, side)


@contextmanager
def open_truth(slide: Slide, config: ShardsConfig) -> Iterator[SlideTruth]:
    """Rasterised by what cuts shards, block by block, each once. Raises UserError."""
    assert slide.annotation is not None
    with open_slide(slide, config.high_mpp) as reader:
        annotation = read_annotation(slide.annotation, config, Frame.of(reader, slide.origin))
        planes: dict[ViewName, Plane] = {
            "high": Plane(reader, annotation, config.high_mpp, _BUDGET_BYTES),
            "low": Plane(reader, annotation, config.low_mpp, _BUDGET_BYTES),
        }
        yield SlideTruth(planes, config.ratio)
