"""Thresholds of validation figures: each patient's is the best on all others, found by trying all."""

import numpy as np
import pytest

from mlseg_dist.evaluation import figures
from mlseg_dist.evaluation.operating_point import best_threshold, leave_one_out
from tests.mlseg_dist.evaluation.made_counts import answers, counted

CLASSES = np.arange(3)


def tables(patients: int, cells: int = 500) -> dict[str, np.ndarray]:
    """Answers by training class (3, 3, 1001) of patients whose networks are more or less sure."""
    found = {}
    for patient in range(patients):
        random = np.random.default_rng(patient)
        truth = random.integers(3, size=cells)
        probabilities = answers(random, truth, 0.3 + patient)
        found[f"P{patient}"] = counted(truth, probabilities, np.arange(3)).answers[:3]
    return found


def test_the_threshold_is_the_best_of_all():
    table = tables(1)["P0"]
    tried = [float(figures.mean_iou(figures.called(table, k / 1000))) for k in range(1001)]
    found = best_threshold(table, CLASSES)
    assert tried[round(1000 * found)] == max(tried)
    ties = [k for k in range(1001) if tried[k] == max(tried)]
    assert round(1000 * found) == min(ties, key=lambda k: (abs(k - 450), k))


def test_a_network_that_is_always_sure_keeps_the_usual_threshold():
    table = np.zeros((3, 3, 1001), np.int64)
    table[range(3), range(3), 1000] = 5
    assert best_threshold(table, CLASSES) == 0.45


@pytest.mark.parametrize("patients", [2, 4])
def test_each_patient_is_left_out_of_the_choice_of_its_own_threshold(patients):
    found = tables(patients)
    chosen = leave_one_out(found)
    assert list(chosen) == sorted(found)
    for patient in found:
        rest = np.sum([table for other, table in found.items() if other != patient], axis=0)
        assert chosen[patient] == best_threshold(rest, CLASSES)
    assert len(set(chosen.values())) > 1


def test_with_fewer_than_two_patients_there_is_nothing_to_fit_on():
    assert leave_one_out(tables(1)) == {} == leave_one_out({})
    assert leave_one_out({**tables(1), "empty": np.zeros((3, 3, 1001), np.int64)}) == {}
