"""Regions of a map: those that a flood fill finds, with their cells and means, and an outline that gives every cell back."""

import numpy as np
import pytest
import shapely
from scipy import ndimage

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.prediction.outlines import Outline, Outlines


def outlines_of(classes: np.ndarray, levels: np.ndarray, at_once: int) -> list[Outline]:
    collected = Outlines(classes.shape[1])
    for top in range(0, len(classes), at_once):
        collected.add(classes[top : top + at_once], levels[top : top + at_once])
    return list(collected.finish())


def check(classes: np.ndarray, levels: np.ndarray, at_once: int) -> None:
    found = outlines_of(classes, levels, at_once)
    height, width = classes.shape
    rows, columns = np.mgrid[:height, :width] + 0.5
    centres = shapely.STRtree(shapely.points(columns.ravel(), rows.ravel()))
    owned = np.zeros(classes.size, int)
    for number in range(len(CLASSES)):
        regions, count = ndimage.label(classes == number)
        own = [one for one in found if one.class_number == number]
        assert (
            sorted(one.cells for one in own) == sorted(np.bincount(regions.ravel())[1:].tolist()) and len(own) == count
        )
        exact = np.argwhere(classes == number)
        for one in own:
            assert one.polygon.is_valid
            cells = centres.query(one.polygon, predicate="contains")
            assert len(cells) == one.cells and (classes.ravel()[cells] == number).all()
            assert one.mean == pytest.approx(levels[..., number].ravel()[cells].mean() / 255)
            owned[cells] += 1
        assert sum(one.cells for one in own) == len(exact)
    assert (owned == (classes != IGNORED).ravel()).all()


@pytest.mark.parametrize("seed", range(40))
def test_noise_of_all_classes_comes_back_cell_by_cell(seed):
    """Noise has every way in which cells can meet: corners, holes in holes, islands, borders of the map."""
    random = np.random.default_rng(seed)
    height, width = random.integers(1, 30, 2)
    classes = random.choice([0, 1, 2, IGNORED], (height, width)).astype(np.uint8)
    levels = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    check(classes, levels, int(random.integers(1, 9)))


def test_a_slope_becomes_a_line_and_a_square_keeps_its_corners():
    slope = np.tri(50, dtype=np.uint8)  # class 1 below the diagonal
    (tumour,) = [one for one in outlines_of(slope, np.zeros((50, 50, 3), np.uint8), 7) if one.class_number == 1]
    assert shapely.get_num_coordinates(tumour.polygon) < 10
    square = np.full((9, 9), IGNORED, np.uint8)
    square[2:5, 3:7] = 2
    (others,) = outlines_of(square, np.full((9, 9, 3), 255, np.uint8), 9)
    assert others.polygon.equals(shapely.box(3, 2, 7, 5)) and (others.cells, others.mean) == (12, 1.0)


def test_no_outline_is_farther_than_half_a_cell_from_the_cells():
    random = np.random.default_rng(3)
    fields = np.stack([ndimage.gaussian_filter(random.normal(size=(80, 90)), 5) for _ in range(3)])
    classes = fields.argmax(axis=0).astype(np.uint8)
    for one in outlines_of(classes, np.zeros((80, 90, 3), np.uint8), 16):
        regions, _ = ndimage.label(classes == one.class_number)
        y, x = np.argwhere((classes == one.class_number) & (regions == _label(regions, one)))[:].T
        exact = shapely.union_all(shapely.box(x, y, x + 1, y + 1))
        assert shapely.hausdorff_distance(exact.boundary, one.polygon.boundary) <= 0.5 + 1e-9


def _label(regions: np.ndarray, one: Outline) -> int:
    point = one.polygon.representative_point()
    inside = shapely.contains_xy(one.polygon, *(np.mgrid[: regions.shape[0], : regions.shape[1]][::-1] + 0.5))
    assert inside.any(), point
    return int(regions[inside][0])


def test_nothing_of_interest_has_no_region():
    assert outlines_of(np.full((5, 4), IGNORED, np.uint8), np.zeros((5, 4, 3), np.uint8), 2) == []
