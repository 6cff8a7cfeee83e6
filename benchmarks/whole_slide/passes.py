"""A pass of the engine over an annotated slide of a run, with a teacher of that run."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch.campaign import load_where
from launch.config import CampaignConfig
from mlseg_dist.evaluation.operating_point import of_teacher
from mlseg_dist.inference import kept_teacher
from mlseg_dist.whole_slide.grid import make_grid
from mlseg_dist.whole_slide.network import SlideNetwork, slide_network
from mlseg_dist.whole_slide.reading import SlideViews
from mlseg_dist.whole_slide.regions import Annotated, Everywhere, full_blend
from mlseg_dist.whole_slide.strips import OVERLAP, WholeSlide
from shards.annotation import Frame, read_annotation
from shards.reader import open_slide
from shards.slide_table import Slide, read_slide_table


class Teacher:
    """A step's teacher of a run, and the run's slides."""

    def __init__(self, run: Path, step: int = -1) -> None:
        self.config: CampaignConfig = load_where(run, [])
        self.run = run
        self.step = range(len(self.config.steps))[step]
        self.network: SlideNetwork = slide_network(kept_teacher(self.config, self.step, run), self.config.shards.ratio)

    @property
    def threshold(self) -> float:
        return of_teacher(self.run, self.config.steps[self.step].name, self.config).threshold

    @property
    def views(self) -> dict[str, float]:
        return {"high_mpp": self.config.shards.high_mpp, "low_mpp": self.config.shards.low_mpp}

    def slides(self, split: str) -> list[Slide]:
        table = read_slide_table(self.run / "data/slides/slides.csv")
        return [slide for slide in table if slide.split == split]

    @contextmanager
    def over(
        self,
        slide: Slide,
        side: int,
        overlap: float = OVERLAP,
        shifted: bool = False,
        annotated: bool = True,
        threads: int = 2,
        **more: Any,
    ) -> Iterator[WholeSlide]:
        """side: of the views, px. annotated: only what is annotated; else all of the slide."""
        with open_slide(slide, self.config.shards.high_mpp) as reader:
            grid = make_grid(reader.size, reader.mpp, self.views, patch_px=side, overlap=overlap, shifted=shifted)
            assert slide.annotation is not None
            frame = Frame.of(reader, slide.origin)
            annotation = read_annotation(slide.annotation, self.config.shards, frame)
            region = Annotated(grid, annotation) if annotated else Everywhere(grid)
            halo = full_blend(grid) if annotated else 0
            with SlideViews(reader, self.views["high_mpp"], self.views["low_mpp"], threads) as views:
                yield WholeSlide(views, self.network, grid, region, self.config.evaluate.batch, threads, halo, **more)
