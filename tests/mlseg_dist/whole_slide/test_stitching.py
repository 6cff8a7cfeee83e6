"""Where patches lie, and what becomes of them: exact where it can be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mlseg_core.errors import UserError
from mlseg_dist.whole_slide.grid import SlideGrid, coarse_enough, make_grid, possible_cells
from mlseg_dist.whole_slide.regions import Everywhere, full_blend, wanted_patches
from mlseg_dist.whole_slide.stitching import RollingStitcher, window

VIEWS = {"high_mpp": 1.0, "low_mpp": 4.0}

overlaps = st.integers(0, 75).map(lambda percent: percent / 100)


def grid_of(width: int, height: int, patch: int = 32, overlap: float = 0.25, **more) -> SlideGrid:
    """A slide at the network's own resolution."""
    return make_grid((width, height), (1.0, 1.0), VIEWS, patch_px=patch, overlap=overlap, **more)


@given(
    st.integers(1, 900),
    st.integers(1, 900),
    st.sampled_from([0.3, 0.5, 1.0, 1.3]),
    st.sampled_from([32, 64, 96, 192]),
    overlaps,
    st.sampled_from([1, 2, 4]),
    st.sampled_from([2, 4, 8]),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_every_cell_lies_in_the_middle_of_one_patch(width, height, mpp, patch, overlap, cell, ratio, shifted):
    views = {"high_mpp": 1.0, "low_mpp": float(ratio)}
    grid = make_grid((width, height), (mpp, mpp), views, patch_px=patch, overlap=overlap, cell_px=cell, shifted=shifted)
    assert 0 <= grid.size[0] * grid.cell_um - height * mpp < grid.cell_um + 1e-6
    for length, count in zip(grid.size, grid.patches, strict=True):
        px = length * cell
        middles = np.zeros(px, int)
        for number in range(count):
            start = grid.start(number)
            assert start % cell == 0 and (start + patch // 2) % ratio == 0, "whole cells, whole px of the low view"
            first = start + (patch - grid.step) // 2
            middles[max(0, first) : max(0, first + grid.step)] += 1
        assert (middles == 1).all()
        assert grid.start(count - 1) + (patch - grid.step) // 2 < px or count == 1, "none that is not needed"


def test_the_grid_can_be_moved_by_half_a_step():
    here, there = grid_of(1000, 1000, 192), grid_of(1000, 1000, 192, shifted=True)
    assert here.start(1) - there.start(1) == here.step // 2 == 72


def test_large_slides_get_coarser_cells():
    assert coarse_enough((50_000, 20_000), (1.0, 1.0), 0.5, 512, most=4096) == 32
    assert coarse_enough((1000, 1000), (1.0, 1.0), 0.5, 512, most=4096) == 1


@pytest.mark.parametrize(("wrong", "says"), [({"overlap": 0.8}, "overlap"), ({"cell_px": 3}, "1, 2, 4")])
def test_impossible_grids_are_refused_in_words(wrong, says):
    with pytest.raises(UserError, match=says):
        grid_of(100, 100, **wrong)


def stitched(grid: SlideGrid, patch_at) -> np.ndarray:
    """The map of patch_at(row, column) -> (3, P, P), cut to the slide; strips as the engine cuts them."""
    cells, (rows, columns) = grid.patch // grid.cell_px, grid.patches
    stitcher = RollingStitcher(columns, cells, grid.step // grid.cell_px, grid.cell_px, torch.device("cpu"))
    left, parts = -(grid.start(0) // grid.cell_px), []
    for row in range(rows):
        for column in range(columns):
            patch = patch_at(row, column)
            if patch is not None:
                stitcher.add(column, torch.from_numpy(patch))
        start = grid.start(row) // grid.cell_px
        top, end = max(0, start), min(grid.size[0], start + (cells if row == rows - 1 else stitcher.step))
        if top < end:
            found, answered = (
                part[..., left : left + grid.size[1]] for part in stitcher.rows(top - start, end - start)
            )
            assert (torch.isnan(found) == ~answered).all()
            parts.append(found.numpy().copy())
        stitcher.roll()
    return np.concatenate(parts, axis=1)


@given(st.integers(1, 150), st.integers(1, 150), overlaps, st.sampled_from([1, 2, 4]), st.booleans())
@settings(max_examples=40, deadline=None)
def test_stitching_a_known_picture_gives_it_back_without_seams(width, height, overlap, cell, shifted):
    """Patches cut from one map, off the slide's edges too, average to the means of that map's cells."""
    grid = grid_of(width, height, 32, overlap, cell_px=cell, shifted=shifted)
    off = -(-64 // cell) * cell
    whole = np.random.default_rng(0).random((3, height + 3 * off, width + 3 * off)).astype(np.float32)

    def patch_at(row, column):
        y, x = grid.start(row) + off, grid.start(column) + off
        return whole[:, y : y + 32, x : x + 32]

    rows, columns = grid.size
    inside = whole[:, off : off + rows * cell, off : off + columns * cell]
    means = inside.reshape(3, rows, cell, columns, cell).mean(axis=(2, 4))
    found = stitched(grid, patch_at)
    assert found.shape == means.shape
    np.testing.assert_allclose(found, means, rtol=2e-5)


def test_disagreeing_patches_blend_and_the_nearer_middle_counts_more():
    grid = grid_of(32, 16, 16, 0.5, cell_px=1)

    def patch_at(row, column):
        return np.full((3, 16, 16), float(grid.start(column) + 8 < 16), np.float32)

    line = stitched(grid, patch_at)[0, 8]
    assert (np.diff(line) <= 1e-6).all() and np.abs(np.diff(line)).max() < 0.25
    assert line[4] == pytest.approx(1, abs=0.01) and line[28] == pytest.approx(0, abs=0.01)


def test_cells_without_a_patch_stay_unknown_and_what_is_no_number_is_marked():
    grid = grid_of(96, 96, 32, 0.25)
    assert grid.start(0) == -4 and grid.step == 24

    def patch_at(row, column):
        if (row, column) not in ((0, 0), (0, 1), (3, 3)):
            return None
        patch = np.full((3, 32, 32), 0.5, np.float32)
        if (row, column) == (0, 1):
            patch[1, 10, 20] = np.nan
        return patch

    mean = stitched(grid, patch_at)
    assert (mean[:, :28, :28] == 0.5).all() and np.isnan(mean[:, 6, 40]).all() and (mean[:, 6, 41] == 0.5).all()
    unknown = np.ones((96, 96), bool)
    unknown[:28, :52] = unknown[68:, 68:] = False
    unknown[6, 40] = True
    assert (np.isnan(mean) == unknown).all()


def test_a_window_falls_off_from_the_middle_and_reaches_the_edge():
    for step in (32, 24, 16, 8):
        weights = window(32, step)
        assert (weights == weights.T).all() and (weights == weights[::-1]).all() and weights.min() > 0
        assert weights[16, 16] == weights.max() and (np.diff(weights[16, :16]) >= 0).all()


class Spot:
    """A region of one cell."""

    def __init__(self, grid: SlideGrid, row: int, column: int) -> None:
        self._columns, self._row, self._column = grid.size[1], row, column
        self.span = row, row + 1

    def rows(self, first: int, last: int) -> np.ndarray:
        out = np.zeros((last - first, self._columns), bool)
        if first <= self._row < last:
            out[self._row - first, self._column] = True
        return out


@given(st.integers(0, 299), st.integers(0, 199), overlaps, st.sampled_from([1, 2]), st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_region_gets_the_patches_around_it_and_no_others(column, row, overlap, cell, shifted):
    grid = grid_of(300 * cell, 200 * cell, 32, overlap, cell_px=cell, shifted=shifted)

    def patches(halo):
        found = wanted_patches(grid, Spot(grid, row, column), halo)
        assert len(found) == grid.patches[0]
        return {(r, int(c)) for r, columns in enumerate(found) for c in columns}

    centre = (np.array([row, column]) + 0.5) * cell
    near, all_that_reach = patches(0), patches(full_blend(grid))
    assert 1 <= len(near) <= 4 and near <= all_that_reach
    for r in range(grid.patches[0]):
        for c in range(grid.patches[1]):
            start = np.array([grid.start(r), grid.start(c)])
            if ((start <= centre) & (centre < start + 32)).all():
                assert (r, c) in all_that_reach


def test_everywhere_is_everywhere():
    grid = grid_of(70, 50)
    rows, columns = grid.patches
    assert [found.tolist() for found in wanted_patches(grid, Everywhere(grid), 0)] == [list(range(columns))] * rows
    assert possible_cells(192) == [1, 2, 4, 8]
