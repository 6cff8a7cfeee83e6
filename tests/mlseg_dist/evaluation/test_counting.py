"""Counts of a slide equal counts over its whole map, whatever the strips; no answer is never background."""

import numpy as np
import pytest
import torch

from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import class_table
from mlseg_dist.evaluation.counting import SlideCounter, odds_bins, probability_bins
from mlseg_dist.evaluation.overview import MOST, OverviewMap
from mlseg_dist.evaluation.slide_counts import BINS, ODDS, SlideCounts
from mlseg_dist.whole_slide.grid import make_grid
from mlseg_dist.whole_slide.strips import Strip

RANDOM = np.random.default_rng(3)
NAMES = ("background", "tumour", "dcis", "marker", "fold")
TABLE = class_table(NAMES, {"background": 0, "tumour": 1, "dcis": 2, "marker": IGNORED, "fold": 2})
CPU = torch.device("cpu")


def softmax(shape: tuple[int, ...]) -> np.ndarray:
    odds = np.exp(2 * RANDOM.standard_normal((3, *shape))).astype(np.float32)
    return odds / odds.sum(axis=0)


def grid_of(shape: tuple[int, int]):
    return make_grid(shape[::-1], (1.0, 1.0), {"high_mpp": 1.0, "low_mpp": 4.0}, patch_px=64, overlap=0.25)


def counted(probabilities, fine, heights, threshold=0.45, columns=None) -> tuple[SlideCounts, OverviewMap]:
    grid = grid_of(fine.shape)
    counter = SlideCounter(grid, TABLE, threshold, 3.0, CPU, columns)
    top, number = 0, 0
    while top < len(fine):
        rows = slice(top, top + heights[number % len(heights)])
        part = torch.from_numpy(probabilities[:, rows].copy())
        answered = ~part.isnan().any(dim=0)
        counter.add(Strip(grid, top, part, answered, fine[rows] != 255), fine[rows])
        top, number = rows.stop, number + 1
    return counter.finish(), OverviewMap.decode(counter.overview.encode())


def test_counts_are_those_of_the_whole_map_whatever_the_strips():
    shape = (60, 47)
    probabilities, fine = softmax(shape), RANDOM.choice([0, 1, 2, 3, 4, 255], shape).astype(np.uint8)
    probabilities[:, 10:13, 5:9] = np.nan
    found, _ = counted(probabilities, fine, [60])
    truth = TABLE[fine]
    answered = ~np.isnan(probabilities).any(axis=0)
    known = (truth != IGNORED) & answered
    assert found.unanswered == ((truth != IGNORED) & ~answered).sum() > 0
    assert found.answers.sum() == known.sum() == found.log_odds.sum() and found.scores.sum() == 3 * known.sum()
    bins = np.minimum((probabilities[:, known] * np.float32(BINS - 1)).astype(int), BINS - 1)
    best = probabilities[:, known].argmax(axis=0)
    expected = np.zeros_like(found.answers)
    np.add.at(expected, (fine[known], best, bins.max(axis=0)), 1)
    np.testing.assert_array_equal(found.answers, expected)
    scores = np.zeros_like(found.scores)
    odds = np.zeros_like(found.log_odds)
    for number in range(3):
        np.add.at(scores, (truth[known], number, bins[number]), 1)
    np.testing.assert_array_equal(found.scores, scores)
    p = probabilities[:, known].astype(np.float64)
    at = np.clip(np.log(p[1:] / p[0]) / 0.25, -40, 40).round().astype(int) + 40
    np.add.at(odds, (truth[known], *at), 1)
    assert np.abs(found.log_odds - odds).sum() <= 2, "of odds between two bins float32 may take the other one"
    for heights in ([1], [7, 13], [32]):
        other, _ = counted(probabilities, fine, heights)
        assert other.to_json() == found.to_json()
    assert SlideCounts.from_json(found.to_json()).to_json() == found.to_json()


def test_the_threshold_decides_surfaces_and_overview_and_nothing_else():
    fine = np.zeros((40, 40), np.uint8)
    fine[:, 20:] = 1
    probabilities = np.full((3, 40, 40), 0.1, np.float32)
    probabilities[0, :, :20], probabilities[1, :, 20:] = 0.8, 0.44
    (low, seen), (high, blind) = (counted(probabilities, fine, [16], threshold) for threshold in (0.44, 0.45))
    assert low.surface[1].tolist() == [40, 40, 40, 40] and high.surface[1].tolist() == [40, 0, 0, 0]
    assert (seen.predicted == seen.truth).all() and not blind.predicted.any()
    for name in ("answers", "scores", "log_odds"):
        np.testing.assert_array_equal(getattr(low, name), getattr(high, name))


def test_bins_of_certain_answers():
    probabilities = np.zeros((3, 1, 4), np.float32)
    probabilities[1] = 1.0
    found, _ = counted(probabilities, np.ones((1, 4), np.uint8), [1])
    assert found.answers[1, 1, BINS - 1] == 4 and found.scores[1, 0, 0] == 4
    assert found.log_odds[1, ODDS - 1, (ODDS - 1) // 2] == 4


def test_no_answer_is_neither_background_nor_a_border():
    fine = np.ones((30, 30), np.uint8)
    probabilities = np.zeros((3, 30, 30), np.float32)
    probabilities[1] = 1
    probabilities[:, 10:20] = np.nan
    found, overview = counted(probabilities, fine, [8])
    assert found.unanswered == 300 and found.answers.sum() == 600 and not found.surface.any()
    assert (overview.predicted[10:20] == IGNORED).all() and (overview.truth == 1).all()


@pytest.mark.parametrize("rows", [1023, 2500])
def test_an_overview_has_every_kth_cell(rows):
    fine = RANDOM.choice([0, 1, 2, 255], (rows, 30)).astype(np.uint8)
    found, overview = counted(softmax((rows, 30)), fine, [97])
    every = -(-rows // MOST)
    np.testing.assert_array_equal(overview.truth, TABLE[fine][every // 2 :: every, every // 2 :: every])
    assert max(overview.truth.shape) <= MOST and found.answers.sum() == (fine != 255).sum()


def test_what_is_annotated_in_a_part_of_the_slide_alone_counts_as_in_all_of_it():
    fine = np.full((1500, 90), 255, np.uint8)
    fine[300:361, 21:60] = RANDOM.choice([0, 1, 2, 255], (61, 39))
    fine[900:904, 30:33] = 1
    probabilities = softmax(fine.shape)
    (all_of_it, seen), (part, seen_in_part) = (counted(probabilities, fine, [13], columns=c) for c in (None, (21, 60)))
    assert all_of_it.to_json() == part.to_json() and part.answers.sum() == (fine != 255).sum()
    assert part.surface.any() and (seen.truth == seen_in_part.truth).all()
    np.testing.assert_array_equal(seen.predicted, seen_in_part.predicted)
    once, _ = counted(probabilities, fine, [1500])
    assert once.to_json() == part.to_json()


def test_bins_at_their_edges():
    sure = torch.tensor([0.0, 0.0009, 0.0011, 0.9999, 1.0, float("nan")])
    assert probability_bins(sure).tolist() == [0, 0, 1, 999, 1000, 0]
    odds = torch.tensor([-1e9, -10.0, 0.0, 0.124, 0.126, 10.0, float("inf"), float("nan")])
    assert odds_bins(odds).tolist() == [0, 0, 40, 40, 41, 80, 80, 40]
    short_of_a_tie = torch.tensor([0.375, -0.375]).nextafter(torch.tensor(0.0))  # adding 10 first would make it a tie
    assert odds_bins(short_of_a_tie).tolist() == [41, 39]
