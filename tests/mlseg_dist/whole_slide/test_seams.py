"""What moving the patches changes is counted cell by cell."""

from pathlib import Path

import numpy as np
import torch

from mlseg_dist.whole_slide.regions import Everywhere
from tests.mlseg_dist.whole_slide.seam_error import SeamError, seam_error
from tests.mlseg_dist.whole_slide.slides import everything, knows_colours, whole
from tests.mlseg_dist.whole_slide.test_strips import slide_of


def guesses_at_borders(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
    """Right in a view's middle half, else tumour."""
    answers = knows_colours(high, low)
    side, edge = answers.shape[-1], answers.shape[-1] // 4
    border = torch.ones((side, side), dtype=torch.bool)
    border[edge:-edge, edge:-edge] = False
    guess = torch.tensor([0.0, 1.0, 0.0])[:, None]
    answers[:, :, border] = guess
    return answers


def error_of(slide: Path, answers, overlap: float) -> SeamError:
    with (
        whole(slide, answers, overlap=overlap) as here,
        whole(slide, answers, overlap=overlap, shifted=True, region=Everywhere) as there,
    ):
        return seam_error(here, there, 0.45)


def test_a_network_that_answers_pixel_by_pixel_has_no_seams(run):
    assert error_of(slide_of(run), knows_colours, 0.25) == SeamError(512 * 512, 0)


def test_seams_are_counted_cell_by_cell_and_overlap_heals_them(run):
    slide, maps = slide_of(run), []
    for shifted in (False, True):
        with whole(slide, guesses_at_borders, overlap=0.0, shifted=shifted) as engine:
            probabilities, _, _ = everything(engine.strips())
            maps.append(probabilities.argmax(axis=0))
    found = error_of(slide, guesses_at_borders, 0.0)
    assert found == SeamError(512 * 512, int((maps[0] != maps[1]).sum())) and found.share > 0.3
    assert error_of(slide, guesses_at_borders, 0.6).share < 0.5 * found.share
    assert SeamError(0, 0).share == 0.0 and np.isclose(SeamError(4, 1).share, 0.25)
