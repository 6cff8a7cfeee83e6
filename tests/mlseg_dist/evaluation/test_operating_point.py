"""The operating point: the threshold equals a search through pixels, the temperature is the one that the logits were made with."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlseg_core.config import validate
from mlseg_dist.config import IGNORED, LearningConfig
from mlseg_dist.evaluation.figures import mean_iou
from mlseg_dist.evaluation.operating_point import (
    OperatingPoint,
    best_temperature,
    best_threshold,
    choose,
    of_teacher,
)
from mlseg_dist.evaluation.slide_counts import ODDS, SlideCounts
from tests.mlseg_dist.tiny_run import plain_config

TABLE = np.full(256, IGNORED, np.uint8)
TABLE[:6] = [0, 1, 2, 1, IGNORED, 2]


def counted(fine, logits):
    """SlideCounts of pixels, from logits (n, 3)."""
    counts = SlideCounts()
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    known = TABLE[fine] != IGNORED
    np.add.at(counts.answers, (fine[known], p.argmax(1)[known], np.floor(1000 * p.max(1)).astype(int)[known]), 1)
    bins = [np.clip(np.rint((logits[:, c] - logits[:, 0] + 10) / 0.25), 0, ODDS - 1).astype(int) for c in (1, 2)]
    np.add.at(counts.log_odds, (TABLE[fine][known], bins[0][known], bins[1][known]), 1)
    return counts, p


def searched(fine, p):
    """All thresholds, on the pixels themselves."""
    truth, known = TABLE[fine], TABLE[fine] != IGNORED
    bins, answer = np.floor(1000 * p.max(1)), p.argmax(1)
    found = []
    for k in range(1001):
        predicted = np.where(bins >= k, answer, 0)
        confusion = np.zeros((3, 3))
        np.add.at(confusion, (truth[known], predicted[known]), 1)
        found.append(float(np.nan_to_num(mean_iou(confusion))))
    best = [k for k in range(1001) if found[k] == max(found)]
    return min(best, key=lambda k: (abs(k - 450), k)) / 1000


@settings(max_examples=6, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 400))
def test_threshold_equals_a_search_through_all_of_them(seed, pixels):
    random = np.random.default_rng(seed)
    fine = random.integers(0, 6, pixels)
    counts, p = counted(fine, random.normal(0, 2, (pixels, 3)) + 2 * np.eye(3)[np.minimum(TABLE[fine], 2)])
    assert best_threshold(counts.answers, TABLE) == searched(fine, p)
    assert choose(counts, TABLE).threshold == searched(fine, p)


def test_of_equally_good_thresholds_the_nearest_to_45_percent_is_chosen():
    fine, sure = np.array([0, 1, 2]), 20 * np.eye(3)
    assert choose(counted(fine, sure)[0], TABLE).threshold == 0.45
    doubtful = np.array([[0.0, 0.1, 0.05], [0, 1.2, 0], [0, 0, 1.2]])  # .350 wrongly, .624 and .624 rightly
    assert choose(counted(fine, doubtful)[0], TABLE).threshold == 0.45
    late = np.array([[0.0, 1.0, 0.0], [0, 1.2, 0], [0, 0, 1.2]])  # .576 wrongly
    assert choose(counted(fine, late)[0], TABLE).threshold == 0.577


@pytest.mark.parametrize("temperature", [0.5, 1.0, 1.7, 3.0])
def test_temperature_that_the_logits_were_made_with_is_recovered(temperature):
    random = np.random.default_rng(7)
    honest = random.normal(0, 1.5, (200_000, 3))
    p = np.exp(honest) / np.exp(honest).sum(1, keepdims=True)
    truth = (random.random((len(p), 1)) > p.cumsum(1)).sum(1)
    counts, _ = counted(truth, honest * temperature)
    assert best_temperature(counts.log_odds) == pytest.approx(temperature, rel=0.05)


def test_temperature_stays_in_its_bounds():
    always_right, always_wrong = np.zeros((2, 3, ODDS, ODDS), np.int64)
    always_right[1, 44, 36] = always_wrong[1, 36, 44] = 1000  # log odds of 1 nat
    assert best_temperature(always_right) == pytest.approx(0.1)
    assert best_temperature(always_wrong) == pytest.approx(10)


def test_nothing_counted_is_the_default():
    assert choose(SlideCounts(), TABLE) == OperatingPoint(0.45, 1.0, "default")


def test_a_teacher_has_its_own_point_a_config_overrules_it_and_an_earlier_one_has_the_default(tmp_path):
    phase = tmp_path / "phases" / "02-base"
    phase.mkdir(parents=True)
    config = validate(plain_config(), LearningConfig, "test")
    free = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"threshold": None})})
    fixed = config.model_copy(update={"evaluate": config.evaluate.model_copy(update={"threshold": 0.7})})
    (phase / "teacher.json").write_text(json.dumps({"weights": "teacher.pt", "sha256": "0"}))
    assert of_teacher(tmp_path, "base", free) == OperatingPoint(0.45, 1.0, "default")
    own = OperatingPoint(0.523, 1.4, "validation")
    record = {"weights": "teacher.pt", "sha256": "0", "operating_point": own.record(patients=3)}
    (phase / "teacher.json").write_text(json.dumps(record))
    assert record["operating_point"] == {
        "threshold": 0.523,
        "temperature": 1.4,
        "patients": 3,
        "from": "validation",
    }
    assert of_teacher(tmp_path, "base", free) == own
    assert of_teacher(tmp_path, "base", fixed) == OperatingPoint(0.7, 1.4, "config")
