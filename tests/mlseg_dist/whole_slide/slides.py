"""A pass of the engine over a slide of a tiny run, with any network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from mlseg_dist.whole_slide.grid import SlideGrid, make_grid
from mlseg_dist.whole_slide.network import SlideNetwork
from mlseg_dist.whole_slide.reading import SlideViews
from mlseg_dist.whole_slide.regions import Everywhere, Region
from mlseg_dist.whole_slide.strips import Strip, WholeSlide
from shards.reader import SlideReader
from tests.mlseg_dist.tiny_run import MPP

VIEWS = {"high_mpp": MPP, "low_mpp": 4 * MPP}


def network(answers) -> SlideNetwork:
    """answers(high, low): uint8 (B, S, S, 3) -> float32 (B, 3, S, S)."""
    return SlideNetwork(answers, torch.device("cpu"))


def knows_colours(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """tiny_run.KnowsColours: tumour is red, others are blue."""
    red, blue = high[..., 0] > 150, high[..., 2] > 150
    answer = torch.where(red & ~blue, 1, torch.where(blue & ~red, 2, 0))
    return torch.nn.functional.one_hot(answer, 3).permute(0, 3, 1, 2).float()


@contextmanager
def whole(
    slide: Path | str, answers, region=Everywhere, threads: int = 2, halo=lambda grid: 0, patch: int = 64, **more
) -> Iterator[WholeSlide]:
    """region: SlideGrid -> Region."""
    with SlideReader(Path(slide), MPP) as reader:
        grid: SlideGrid = make_grid(reader.size, reader.mpp, VIEWS, patch_px=patch, **{"overlap": 0.25, **more})
        made: Region = region(grid)
        net = answers if isinstance(answers, SlideNetwork) else network(answers)
        with SlideViews(reader, VIEWS["high_mpp"], VIEWS["low_mpp"], threads) as views:
            yield WholeSlide(views, net, grid, made, batch=8, threads=threads, halo_px=halo(grid))


def everything(strips: Iterator[Strip]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The whole map at once: probabilities (3, H, W), answered (H, W), region (H, W)."""
    kept = [(s.probabilities.cpu().numpy().copy(), s.answered.cpu().numpy(), s.region) for s in strips]
    return tuple(np.concatenate(parts, axis=-2) for parts in zip(*kept, strict=True))  # type: ignore[return-value]
