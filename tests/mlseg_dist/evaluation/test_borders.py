"""Surfaces in strips equal those of the whole map, to the last cell."""

import numpy as np
import pytest
import torch
from scipy.ndimage import distance_transform_edt

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.evaluation.borders import SurfaceCounter

RANDOM = np.random.default_rng(11)


def blobs(shape: tuple[int, int], cell: int, ignored: float = 0.2) -> np.ndarray:
    """A map of blocks of classes with noise at their edges."""
    small = RANDOM.choice([0, 1, 2], [-(-n // cell) for n in shape]).astype(np.uint8)
    large = np.kron(small, np.ones((cell, cell), np.uint8))[: shape[0], : shape[1]]
    noisy = np.where(RANDOM.random(shape) < 0.02, RANDOM.integers(0, 3, shape), large)
    hole = np.kron(RANDOM.random([-(-n // 9) for n in shape]) < ignored, np.ones((9, 9), bool))
    return np.where(hole[: shape[0], : shape[1]], IGNORED, noisy).astype(np.uint8)


def borders(classes: np.ndarray) -> np.ndarray:
    """Written another way: cell by cell."""
    out = np.zeros(classes.shape, bool)
    for (row, column), own in np.ndenumerate(classes):
        for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
            y, x = row + down, column + right
            if own != IGNORED and 0 <= y < classes.shape[0] and 0 <= x < classes.shape[1]:
                out[row, column] |= classes[y, x] not in (own, IGNORED)
    return out


def whole(truth: np.ndarray, predicted: np.ndarray, tolerance: float) -> np.ndarray:
    """By distance transforms of the whole map."""
    found = np.zeros((len(CLASSES), 4), np.int64)
    edges = [borders(truth), borders(predicted)]
    for number in range(len(CLASSES)):
        sides = [edge & (classes == number) for edge, classes in zip(edges, (truth, predicted), strict=True)]
        for which, (own, other) in enumerate((sides, sides[::-1])):
            near = distance_transform_edt(~other) <= tolerance if other.any() else np.zeros_like(own)
            found[number, 2 * which : 2 * which + 2] = own.sum(), (own & near).sum()
    return found


def in_strips(truth: np.ndarray, predicted: np.ndarray, tolerance: float, heights: list[int]) -> np.ndarray:
    counter = SurfaceCounter(truth.shape[1], tolerance, torch.device("cpu"))
    top = 0
    while top < len(truth):
        rows = slice(top, top + heights[top % len(heights)])
        counter.add(torch.from_numpy(truth[rows]), torch.from_numpy(predicted[rows]))
        top = rows.stop
    return counter.finish().numpy()


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 2.5, 5.0, 20.0])
def test_strips_of_any_height_count_what_the_whole_map_has(tolerance):
    truth = blobs((70, 53), 11)
    shifted = np.roll(truth, (1, 3), (0, 1))
    predicted = np.where((truth == IGNORED) | (shifted == IGNORED), truth, shifted)
    expected = whole(truth, predicted, tolerance)
    assert (expected[:, 0] > expected[:, 1]).any() or tolerance >= 5
    for heights in ([1], [2], [7], [1, 30, 2, 3], [70]):
        np.testing.assert_array_equal(in_strips(truth, predicted, tolerance, heights), expected)


def test_the_border_of_an_annotation_is_no_border():
    truth = np.full((20, 20), IGNORED, np.uint8)
    truth[5:15, 5:15] = 1
    assert not in_strips(truth, truth, 3.0, [6]).any()
    truth[5:15, 10:15] = 0
    found = in_strips(truth, truth, 0.0, [6])
    assert found[:2].tolist() == [[10, 10, 10, 10]] * 2 and not found[2].any()


def test_a_border_that_nobody_predicted_has_nothing_near():
    truth = np.zeros((30, 30), np.uint8)
    truth[:, 12:] = 2
    found = in_strips(truth, np.zeros_like(truth), 40.0, [4])
    assert found.tolist() == [[30, 0, 0, 0], [0, 0, 0, 0], [30, 0, 0, 0]]


def test_memory_does_not_grow_with_the_height():
    counter = SurfaceCounter(64, 5.0, torch.device("cpu"))
    strip = torch.from_numpy(RANDOM.integers(0, 3, (16, 64)).astype(np.uint8))
    sizes = []
    for _ in range(40):
        counter.add(strip, strip)
        sizes.append(sum(len(keys) for side in counter._sides for keys in side.keys))
    assert max(sizes) == max(sizes[:5]) < 2 * 64 * (16 + 2 * 6)
