"""Reliability, calibration error and likelihood from binned log odds against torchmetrics and torch, at any temperature."""

import numpy as np
import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

from mlseg_dist.evaluation.calibration import CONFIDENCE_BINS, calibration, measured, probabilities
from mlseg_dist.evaluation.slide_counts import ODDS, ODDS_LIMIT, ODDS_STEP
from tests.mlseg_dist.evaluation.made_counts import counted


def cells(seed: int, exact: bool, number: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits (N, 3) of background, tumour, others and true classes, drawn with a temperature of 2. exact: logits in whole bins."""
    random = np.random.default_rng(seed)
    odds = 3 * random.standard_normal((number, 2))
    odds = np.clip(np.round(odds / ODDS_STEP) if exact else odds / ODDS_STEP, -ODDS // 2 + 1, ODDS // 2) * ODDS_STEP
    odds = odds[odds.any(axis=1)]  # a confidence of 1/3 lies between two bins of the calibration error
    logits = np.concatenate([np.zeros((len(odds), 1)), odds], axis=1)
    chances = torch.softmax(torch.from_numpy(logits / 2), dim=1).numpy()
    return logits, (random.random((len(odds), 1)) > np.cumsum(chances, axis=1)).sum(axis=1).clip(0, 2)


def softmax(logits: np.ndarray) -> np.ndarray:
    return torch.softmax(torch.from_numpy(logits), dim=1).numpy()


def histogram(logits: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return counted(truth, softmax(logits), np.arange(3)).log_odds


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_error_and_likelihood_equal_torch_for_log_odds_in_whole_bins(temperature):
    logits, truth = cells(1, exact=True)
    found = measured(histogram(logits, truth), temperature)
    chances = torch.from_numpy(softmax(logits / temperature))
    metric = MulticlassCalibrationError(3, n_bins=CONFIDENCE_BINS, norm="l1")
    assert found["ece"] == pytest.approx(float(metric(chances, torch.from_numpy(truth))), abs=1e-5)
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits / temperature), torch.from_numpy(truth))
    assert found["nll"] == pytest.approx(float(loss), abs=1e-9)


def test_bins_move_error_and_likelihood_by_little_for_any_log_odds():
    logits, truth = cells(2, exact=False)
    found = measured(histogram(logits, truth), 1.0)
    metric = MulticlassCalibrationError(3, n_bins=CONFIDENCE_BINS, norm="l1")
    exact = float(metric(torch.from_numpy(softmax(logits)), torch.from_numpy(truth)))
    assert found["ece"] == pytest.approx(exact, abs=0.002)
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(truth))
    assert found["nll"] == pytest.approx(float(loss), abs=0.01)


def test_the_right_temperature_makes_probabilities_what_they_say():
    logits, truth = cells(3, exact=True)
    found = calibration(histogram(logits, truth), 2.0)
    assert found["temperature"] == 2.0 and found["ece"] > 0.1
    assert found["ece_scaled"] < 0.015 and found["nll_scaled"] < found["nll"]
    for rows in (found["reliability"], found["reliability_scaled"]):
        assert sum(row["share"] for row in rows) == pytest.approx(1)
        confidences = [row["confidence"] for row in rows]
        assert confidences == sorted(confidences) and confidences[0] > 1 / 3
    assert found["ece"] == pytest.approx(
        sum(row["share"] * abs(row["confidence"] - row["accuracy"]) for row in found["reliability"])
    )


def test_without_a_temperature_or_without_cells_there_is_nothing_to_say():
    logits, truth = cells(4, exact=True)
    counts = histogram(logits, truth)
    found = calibration(counts, None)
    assert found["ece"] is not None
    assert (found["ece_scaled"], found["nll_scaled"], found["reliability_scaled"]) == (None, None, [])
    empty = calibration(np.zeros_like(counts), 1.5)
    assert empty["ece"] is None and empty["reliability"] == [] and empty["nll_scaled"] is None


def test_probabilities_of_bins_are_those_of_their_log_odds():
    chances = probabilities(1.0)
    place = round((1.0 + ODDS_LIMIT) / ODDS_STEP), round((-2.0 + ODDS_LIMIT) / ODDS_STEP)
    np.testing.assert_allclose(chances[place], softmax(np.array([[0.0, 1.0, -2.0]]))[0], atol=1e-12)
    np.testing.assert_allclose(chances.sum(axis=-1), 1, atol=1e-12)
