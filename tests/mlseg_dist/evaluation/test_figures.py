"""Figures from counts equal what torchmetrics and scikit-learn make of the cells themselves."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    f1_score,
    precision_score,
    recall_score,
    roc_auc_score,
)
from torchmetrics.classification import (
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassF1Score,
    MulticlassJaccardIndex,
    MulticlassPrecision,
    MulticlassRecall,
    MulticlassSpecificity,
)

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.evaluation import figures
from mlseg_dist.evaluation.slide_counts import BINS, SlideCounts
from tests.mlseg_dist.evaluation.made_counts import answers, counted

CLASS_OF = np.array([0, 0, 1, 2, 2, IGNORED])


def cells(seed: int, number: int = 3000) -> tuple[np.ndarray, np.ndarray, SlideCounts]:
    """True classes of the cells that count, probabilities in thousandths, and their counts."""
    random = np.random.default_rng(seed)
    fine = random.integers(len(CLASS_OF), size=number)
    shown = np.floor(1000 * answers(random, CLASS_OF[fine], 1.0)) + 0.5
    known = CLASS_OF[fine] != IGNORED
    return CLASS_OF[fine][known], shown[known] / 1000, counted(fine, shown / 1000, CLASS_OF)


def decided(probabilities: np.ndarray, threshold: float) -> np.ndarray:
    strongest = probabilities.argmax(axis=1)
    return np.where(np.floor(1000 * probabilities.max(axis=1)) >= round(1000 * threshold), strongest, 0)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("threshold", [0.0, 0.45, 0.7])
def test_figures_at_a_threshold_are_those_of_torchmetrics_and_sklearn(seed, threshold):
    truth, probabilities, counts = cells(seed)
    predicted = decided(probabilities, threshold)
    fine = figures.called(counts.answers[: len(CLASS_OF)], threshold)
    confusion = figures.by_training_class(fine, CLASS_OF)
    np.testing.assert_array_equal(confusion, confusion_matrix(truth, predicted))
    found = figures.ratios(confusion)
    for name, metric in (
        ("iou", MulticlassJaccardIndex),
        ("dice", MulticlassF1Score),
        ("precision", MulticlassPrecision),
        ("recall", MulticlassRecall),
        ("specificity", MulticlassSpecificity),
    ):
        expected = metric(3, average="none")(torch.from_numpy(predicted), torch.from_numpy(truth))
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
    for name, score in (("dice", f1_score), ("precision", precision_score), ("recall", recall_score)):
        np.testing.assert_allclose(found[name], score(truth, predicted, average=None), atol=1e-12)
    assert found["accuracy"] == pytest.approx((truth == predicted).mean(), abs=1e-12)
    assert figures.mean_iou(confusion) == pytest.approx(found["iou"].mean(), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_areas_are_those_of_torchmetrics_and_sklearn_on_scores_in_thousandths(seed):
    truth, probabilities, counts = cells(seed)
    found = figures.areas(figures.one_against_rest(counts.scores))
    for place in range(3):
        scores, positive = probabilities[:, place], truth == place
        assert found["auc"][place] == pytest.approx(roc_auc_score(positive, scores), abs=1e-12)
        assert found["average_precision"][place] == pytest.approx(average_precision_score(positive, scores), abs=1e-12)
    # torchmetrics takes softmax of what does not lie in [0, 1] only, so these scores go in as they are
    both = torch.from_numpy(probabilities), torch.from_numpy(truth)
    np.testing.assert_allclose(found["auc"], MulticlassAUROC(3, average="none")(*both), atol=1e-6)
    np.testing.assert_allclose(
        found["average_precision"], MulticlassAveragePrecision(3, average="none")(*both), atol=1e-6
    )


def test_curves_for_drawing_hold_every_tenth_threshold_and_areas_of_all():
    truth, probabilities, counts = cells(7)
    histogram = figures.one_against_rest(counts.scores)[1]
    curve = figures.curve(histogram)
    at = np.floor(1000 * probabilities[:, 1]) >= 450
    positive = truth == 1
    assert len(curve["threshold"]) == 101 and curve["threshold"][45] == 0.45
    assert curve["recall"][45] == pytest.approx((at & positive).sum() / positive.sum(), abs=1e-6)
    assert curve["precision"][45] == pytest.approx((at & positive).sum() / at.sum(), abs=1e-6)
    assert curve["specificity"][45] == pytest.approx((~at & ~positive).sum() / (~positive).sum(), abs=1e-6)
    assert curve["iou"][45] == pytest.approx((at & positive).sum() / (at | positive).sum(), abs=1e-6)
    assert curve["auc"] == pytest.approx(roc_auc_score(positive, probabilities[:, 1]), abs=1e-12)
    assert curve["precision"][100] == 1.0, "nothing is predicted there"
    histogram[1] = 0
    nothing = figures.curve(histogram)
    assert nothing["positives"] == 0 and nothing["auc"] is None and nothing["recall"] == []


def test_confusions_at_all_thresholds_are_those_at_each():
    _, _, counts = cells(3)
    fine = counts.answers[: len(CLASS_OF)]
    each = figures.confusion_at_each(figures.by_training_class(fine, CLASS_OF))
    assert each.shape == (BINS, 3, 3)
    for k in (0, 1, 333, 450, 999, 1000):
        np.testing.assert_array_equal(
            each[k], figures.by_training_class(figures.called(fine, k / 1000), CLASS_OF), err_msg=str(k)
        )


def test_a_probability_counts_at_the_threshold_itself():
    counts = SlideCounts()
    counts.answers[2, 1, [449, 450, 451]] = 1, 10, 100
    assert figures.called(counts.answers, 0.45)[2].tolist() == [1, 110, 0]
    assert figures.called(counts.answers, 0.451)[2].tolist() == [11, 100, 0]


def test_a_class_that_is_not_annotated_has_no_iou_and_its_false_alarms_count_where_they_fell():
    found = figures.plain(np.array([[6, 2, 1], [2, 10, 0], [0, 0, 0]]))
    assert found["iou"] == {"background": 6 / 11, "tumour": 10 / 14, "others": None}
    assert found["miou"] == pytest.approx((6 / 11 + 10 / 14) / 2)
    assert (found["recall"]["others"], found["precision"]["others"], found["dice"]["others"]) == (None, 0.0, None)
    nothing = figures.plain(np.zeros((3, 3), np.int64))
    assert nothing["miou"] is nothing["accuracy"] is None and set(nothing["iou"].values()) == {None}


@given(st.lists(st.integers(0, 10**12), min_size=3, max_size=3), st.integers(0, 2))
@settings(max_examples=50, deadline=None)
def test_the_baseline_gets_the_majority_class_right_and_nothing_else(pixels, answer):
    found = figures.plain(figures.constant(np.array(pixels), answer))
    for place, name in enumerate(CLASSES):
        if not pixels[place]:
            assert found["iou"][name] is None
        else:
            assert found["iou"][name] == (pytest.approx(pixels[place] / sum(pixels)) if place == answer else 0.0)


def test_surface_dice_is_the_share_of_both_borders_that_is_near_the_other():
    surface = np.array([[10, 5, 20, 10], [0, 0, 7, 0], [8, 8, 8, 8]])
    np.testing.assert_array_equal(figures.surface_dice(surface), [0.5, np.nan, 1.0])
