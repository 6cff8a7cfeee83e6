"""The rows of the shards benchmark do what their table says, on small slides."""

import sys
from pathlib import Path

import numpy as np
import openslide
import pytest

from benchmarks.common.processes import ROOT, RowFailed
from benchmarks.shards.race import run_row
from benchmarks.shards.rows.job import write_job
from benchmarks.shards.rows.row import Row
from benchmarks.shards.slides import write_slides
from mlseg_core.config import read_yaml


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    table = write_slides(folder / "slides", folder / "no real slides", 2, (2304, 2048))
    settings = read_yaml(ROOT / "configs/paper.yaml")["shards"]
    path = folder / "job.json"
    count = write_job(path, settings | {"store_px": 64, "tissue_stride_um": 0.0}, table)
    return path, count


def test_a_mirrored_slide_is_seamless_at_every_level(job):
    with openslide.OpenSlide(str(job[0].parent / "slides/large-0.tif")) as slide:
        assert slide.level_dimensions == ((2304, 2048), (576, 512), (144, 128))
        assert float(slide.properties["openslide.mpp-x"]) == pytest.approx(0.25)
        levels = [
            np.asarray(slide.read_region((0, 0), level, slide.level_dimensions[level]))[..., :3] for level in range(3)
        ]
    means = levels[0].reshape(512, 4, 576, 4, 3).mean(axis=(1, 3))
    assert np.abs(means - levels[1]).mean() < 4  # JPEG's loss


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("row", ["ours", "floor", "loop_jpeg", "loop_png"])
def test_every_row_does_every_patch(job, tmp_path, row, processes):
    path, count = job
    result = run_row(row, sys.executable, path, processes, tmp_path / "out")
    assert result.pairs == count > 20
    assert result.seconds > 0 and result.cpu_s > 0 and result.peak_mib > 10
    assert (result.mb > 0) == (row != "floor")


def test_a_row_that_fails_says_why(job, tmp_path):
    with pytest.raises(RowFailed, match="no_such_row"):
        run_row("no_such_row", sys.executable, job[0], 1, tmp_path / "out")


def test_a_share_is_a_square_dealt_to_the_workers():
    centers = [[float(x), float(y)] for y in range(21) for x in range(21)]
    parts = [
        Row({"slides": [{"centers": centers}], "share": 25 / 441}, worker, 2, Path()).tiles()[0][1]
        for worker in range(2)
    ]
    dealt = parts[0] + parts[1]
    assert len(parts[0]) in (12, 13) and dealt == sorted(dealt, key=lambda c: (c[1], c[0]))
    assert {tuple(c) for c in dealt} == {(x, y) for x in range(8, 13) for y in range(8, 13)}
