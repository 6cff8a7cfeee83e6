"""Thresholds from precision: expected in the tissue, not in the regions that people chose; and what would do harm."""

import numpy as np
import pytest

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_dist.config import CLASSES, LabelConfig
from mlseg_dist.data import labels
from mlseg_dist.data.labels import NEVER, Accepting
from mlseg_dist.labelling.reliability import Reliability
from mlseg_dist.labelling.thresholds import choose, expected, mixture, precision_at, settle, shares_of_tissue

TISSUE = np.array([0.95, 0.03, 0.02])
REGIONS = np.array([0.7, 0.2, 0.1])
"""Shares of the classes in tissue, and where people annotated."""


def answers(random: np.random.Generator, shares: np.ndarray, pixels: int, sharp: float = 7.0) -> np.ndarray:
    """Pixels of a teacher that is unsure of the rare classes: (true, said, level)."""
    truth = random.choice(3, size=pixels, p=shares)
    logits = random.normal(0, 2.2, (pixels, 3))
    logits[np.arange(pixels), truth] += sharp * np.array([1.0, 0.8, 0.6])[truth]
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    level = np.floor(p.max(1) * 20 + 1e-6).astype(int)
    counts = np.zeros((3, 3, labels.LEVELS), np.int64)
    np.add.at(counts, (truth, p.argmax(1), level), 1)
    return counts


def reliability(random: np.random.Generator, tissue: np.ndarray = TISSUE) -> tuple[Reliability, np.ndarray]:
    """What is measured, and the tissue's whole truth, (true, said, level)."""
    found, whole = Reliability.empty(), answers(random, tissue, 400_000)
    for view in ("high", "low"):
        found.val[view][:] = answers(random, REGIONS, 200_000)
        found.tissue[view][:] = whole.sum(0)
    return found, whole


@pytest.fixture(scope="module")
def measured() -> tuple[Reliability, np.ndarray]:
    return reliability(np.random.default_rng(3))


def settings(**changes) -> LabelConfig:
    return validate({"threshold": 0.5, "choose": "precision", "precision": 0.9, **changes}, LabelConfig, "test")


def test_the_tissues_shares_are_found_without_its_truth(measured):
    found, whole = measured
    truth = whole.sum((1, 2)) / whole.sum()
    assert shares_of_tissue(found) == pytest.approx(truth, abs=0.004)
    random = np.random.default_rng(1)
    rows = random.integers(1, 1000, (3, 40))
    weights = np.array([0.2, 0.5, 0.3])
    seen = (1e6 * weights @ (rows / rows.sum(1, keepdims=True))).astype(np.int64)
    assert mixture(rows, seen) == pytest.approx(weights, abs=0.02)


def test_what_is_accepted_is_as_precise_in_the_tissue_as_was_asked(measured):
    found, whole = measured
    accepting = choose(settings(), found)
    for number, level in enumerate(accepting.high):
        assert level < NEVER
        held = precision_at(whole, None, number, level)
        assert held >= 0.88, CLASSES[number]
        if level > 10:  # the least such level
            assert precision_at(whole, None, number, level - 1) < 0.92
    naive = [
        next(level for level in range(10, 21) if precision_at(found.val["high"], None, number, level) >= 0.9)
        for number in range(3)
    ]
    assert naive[1] < accepting.high[1], "the regions' own shares would accept more tumour"
    assert precision_at(whole, None, 1, naive[1]) < 0.85, "and be wrong more often than was asked"


def test_what_is_expected_is_what_comes(measured):
    found, whole = measured
    accepting = Accepting.from_threshold(0.9)
    what = expected(accepting, found)
    for number, name in enumerate(CLASSES):
        assert what.precision["high"][name] == pytest.approx(precision_at(whole, None, number, 18), abs=0.03)
        assert what.recall["high"][name] == pytest.approx(
            whole[number, number, 18:].sum() / whole[number].sum(), abs=0.03
        )


def test_a_class_that_is_never_right_is_never_accepted(measured):
    found, _ = measured
    bad = Reliability.from_json(found.to_json())
    bad.val["low"][0, 2] += 500_000 // labels.LEVELS  # background, called others at every level
    accepting = choose(settings(), bad)
    assert accepting.low[2] == NEVER and accepting.high == choose(settings(), found).high
    assert accepting.to_json()["low"]["others"] is None


def test_nothing_to_measure_on():
    empty = Reliability.empty()
    assert shares_of_tissue(empty) is None
    assert choose(settings(), empty) == Accepting((NEVER,) * 3, (NEVER,) * 3)
    assert choose(settings(choose="fixed"), empty) == Accepting.from_threshold(0.5)
    what = expected(Accepting.from_threshold(0.5), empty)
    assert what.shares is None and set(what.precision["high"].values()) == {None}


BY_CLASS = {"background": 0.95, "tumour": 0.9, "others": 0.75}


@pytest.mark.parametrize(
    ("threshold", "high", "low"),
    [
        (0.9, (18, 18, 18), (18, 18, 18)),
        (BY_CLASS, (19, 18, 15), (19, 18, 15)),
        ({"high": BY_CLASS, "low": 0.8}, (19, 18, 15), (16, 16, 16)),
        ({"low": BY_CLASS, "high": 0}, (0, 0, 0), (19, 18, 15)),
    ],
)
def test_thresholds_are_one_number_or_one_for_each_class_and_view(threshold, high, low):
    assert choose(settings(choose="fixed", threshold=threshold), Reliability.empty()) == Accepting(high, low)


def test_chosen_thresholds_start_at_those_of_their_class_and_view(measured):
    first = choose(settings(threshold={"high": BY_CLASS, "low": 0.5}), measured[0])
    free = choose(settings(), measured[0])
    assert (
        first.high == tuple(max(pair) for pair in zip(free.high, (19, 18, 15), strict=True)) and first.low == free.low
    )


@pytest.mark.parametrize(
    ("threshold", "said"),
    [
        (1.0, "a threshold of 1: it must be at least 0 and less than 1"),
        (-0.05, "a threshold of -0.05"),
        (float("nan"), "a threshold of nan"),
        ("0.9", "'0.9' is no threshold: give one number, {background: …, tumour: …, others: …}, or {high: …, low: …}"),
        (True, "True is no threshold"),
        (None, "None is no threshold"),
        ({"background": 0.9, "tumour": 0.9}, "thresholds of background, tumour: give one number"),
        ({"high": 0.9}, "thresholds of high: give one number"),
        ({}, "thresholds of nothing"),
        ({"high": BY_CLASS, "low": {"high": 0.5, "low": 0.5}}, "thresholds of high, low: give one number"),
        (BY_CLASS | {"others": 0.93}, "threshold must be a multiple of 0.05"),
    ],
)
def test_a_wrong_threshold_is_one_line_that_names_the_key(threshold, said):
    with pytest.raises(UserError) as error:
        settings(threshold=threshold)
    (line,) = str(error.value).splitlines()
    assert said in line and "threshold" in line and "float" not in line and "dict" not in line


def test_harm_is_told_or_left_out(measured):
    found, _ = measured
    fixed = settings(choose="fixed", threshold=0.4, min_precision=0.9)
    accepting, harms = settle(fixed, found)
    assert {(harm.view, harm.name) for harm in harms} >= {("high", "tumour"), ("high", "others")}
    assert accepting == Accepting.from_threshold(0.4), "it is told, and taught all the same"
    left, again = settle(fixed.model_copy(update={"on_harm": "leave-out"}), found)
    assert again == harms
    assert left.high[1] == left.high[2] == NEVER and left.high[0] == 8
    assert settle(settings(min_precision=0.8), found)[1] == []


def test_a_class_that_takes_up_more_than_there_can_be_is_harmful():
    """A fifth of the background is called others, with a low probability: nothing below .5 may be accepted."""
    found = Reliability.empty()
    for view in ("high", "low"):
        found.val[view][0, 0, 19], found.val[view][0, 2, 8] = 8000, 2000
        found.val[view][1, 1, 19] = found.val[view][2, 2, 19] = 1000
        found.tissue[view][0, 19], found.tissue[view][2, 8] = 76_000, 19_000
        found.tissue[view][1, 19], found.tissue[view][2, 19] = 3000, 2000
    harms = settle(settings(choose="fixed", threshold=0.0, max_share_grown=3.0), found)[1]
    assert [(harm.view, harm.name) for harm in harms] == [("high", "others"), ("low", "others")]
    assert "makes up 21.0% of what is accepted, and an estimated 2.0% of the tissue" in str(harms[0])
    assert settle(settings(choose="fixed", threshold=0.5, max_share_grown=3.0), found)[1] == []
