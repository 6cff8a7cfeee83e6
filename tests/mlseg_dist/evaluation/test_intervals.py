"""Intervals hold the truth as often as they say, because patients are drawn; differences are paired; none below five patients."""

import numpy as np
import pytest
from scipy.stats import t

from mlseg_dist.evaluation import figures, intervals
from mlseg_dist.evaluation.cohort import sums_by
from mlseg_dist.evaluation.differences import difference
from mlseg_dist.evaluation.intervals import LEAST_PATIENTS, RESAMPLES, Resamples, percentiles, student_t

SLIDES, TIMES = 3, 1000


def simulated(random: np.random.Generator, patients: int) -> np.ndarray:
    """Confusions (patients, slides, 3, 3): slides of a patient are alike in how hard they are and in what they hold."""
    hard = random.normal(0, 1, (patients, 1, 1)) + random.normal(0, 0.3, (patients, SLIDES, 1))
    hit = 1 / (1 + np.exp(-(np.array([2.0, 1.2, 0.6]) + hard)))
    held = np.exp(random.normal(0, 0.5, (patients, 1, 3)) + random.normal(0, 0.2, (patients, SLIDES, 3)))
    held = np.round(1000 * held * np.array([6, 2, 1]))
    missed = (held * (1 - hit) / 2)[..., None] * (1 - np.eye(3))
    return np.round(missed + (held * hit)[..., None] * np.eye(3))


def coverage(confusions: np.ndarray, truth: float) -> float:
    """How often the interval of the mean IoU holds the truth. confusions: (times, drawn units, 3, 3)."""
    units, held = confusions.shape[1], 0
    resamples = Resamples(units, 1, "simulation")
    for part in np.split(confusions, 20):
        drawn = figures.mean_iou(resamples.sums(np.moveaxis(part, 1, 0)))
        value = figures.mean_iou(part.sum(axis=1))
        for number in range(len(part)):
            row = intervals.interval(value[number], drawn[:, number], units)
            held += row["low"] <= truth <= row["high"]
    return held / len(confusions)


@pytest.mark.parametrize("patients", [6, 30])
def test_patient_intervals_hold_the_truth_as_often_as_they_say_and_slide_intervals_do_not(patients, capsys):
    random = np.random.default_rng(11)
    truth = float(figures.mean_iou(simulated(random, 200_000).sum(axis=(0, 1))))
    found = simulated(random, TIMES * patients).reshape(TIMES, patients, SLIDES, 3, 3)
    by_patients = coverage(found.sum(axis=2), truth)
    by_slides = coverage(found.reshape(TIMES, patients * SLIDES, 3, 3), truth)
    with capsys.disabled():
        print(
            f" 95 % intervals hold the truth: {by_patients:.1%} over {patients} patients, {by_slides:.1%} over slides ",
            end="",
        )
    assert 0.90 <= by_patients <= 0.98
    assert by_slides < by_patients - 0.1


def test_percentiles_lie_farther_out_for_few_patients():
    for freedom in (4, 5, 7, 29, 1000):
        assert student_t(freedom) == pytest.approx(float(t.ppf(0.975, freedom)), abs=2e-3)
    assert percentiles(10**6) == pytest.approx((2.5, 97.5), abs=1e-3)
    few, some = percentiles(5), percentiles(30)
    assert 0 < few[0] < some[0] < 2.5 and few[0] + few[1] == pytest.approx(100)


def random_confusions(seed: int, patients: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 500, (patients, 3, 3)) + 900 * np.eye(3, dtype=int)


def test_weights_are_whole_numbers_of_which_each_resample_has_one_a_patient():
    resamples = Resamples(7, 3, "test")
    assert resamples.weights.shape == (RESAMPLES, 7) and (resamples.weights.sum(axis=1) == 7).all()
    assert resamples.weights.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
    assert np.array_equal(resamples.weights, Resamples(7, 3, "test").weights), "the same bytes each time"
    assert not np.array_equal(resamples.weights, Resamples(7, 3, "val").weights)
    assert not np.array_equal(resamples.weights, Resamples(7, 4, "test").weights)


def test_an_interval_is_the_percentiles_of_pooled_figures_of_patients_drawn_one_by_one():
    """Against drawing patients with a loop, as one would write it down first."""
    confusions, resamples = random_confusions(1, 9), Resamples(9, 5, "test")
    found = intervals.iou_intervals(confusions, resamples)
    values = []
    for weights in resamples.weights:
        drawn = [confusions[patient] for patient in range(9) for _ in range(int(weights[patient]))]
        hit = np.diagonal(np.sum(drawn, axis=0))
        values.append(np.mean(hit / (np.sum(drawn, axis=(0, 1)) + np.sum(drawn, axis=(0, 2)) - hit)))
    row = found["miou"]
    assert (row["low"], row["high"]) == pytest.approx(np.percentile(values, percentiles(9)), abs=1e-12)
    assert row["low"] < row["value"] < row["high"] and row["patients"] == 9


def test_differences_are_paired_and_equal_a_direct_computation():
    before, after = random_confusions(1, 12), random_confusions(2, 12)
    resamples = Resamples(12, 5, "test")
    found = intervals.iou_differences(before, after, resamples)
    gains = []
    for weights in resamples.weights.astype(int):
        old, new = (np.repeat(one, weights, axis=0).sum(axis=0) for one in (before, after))
        gains.append(float(figures.mean_iou(new) - figures.mean_iou(old)))
    row = found["miou"]
    assert row["value"] == pytest.approx(float(np.diff([figures.mean_iou(x.sum(axis=0)) for x in (before, after)])[0]))
    assert (row["low"], row["high"]) == pytest.approx(np.percentile(gains, percentiles(12)), abs=1e-12)
    same = intervals.iou_differences(before, before, resamples)
    assert (same["miou"]["low"], same["miou"]["value"], same["miou"]["high"]) == (0, 0, 0)


def test_a_paired_interval_is_narrower_than_the_patients_spread():
    """What all patients gain alike is certain, however much they differ."""
    before = random_confusions(1, 20) * np.arange(1, 21)[:, None, None]
    after = before + before * np.eye(3, dtype=int)
    found = intervals.iou_differences(before, after, Resamples(20, 5, "test"))["miou"]
    alone = intervals.iou_intervals(after, Resamples(20, 5, "test"))["miou"]
    assert found["low"] > 0 and found["high"] - found["low"] < 0.5 * (alone["high"] - alone["low"])


@pytest.mark.parametrize("patients", [0, 1, 4, 5])
def test_below_five_patients_there_is_a_figure_and_no_interval(patients):
    found = intervals.iou_intervals(random_confusions(1, patients), Resamples(patients, 1, "test"))["miou"]
    assert found["patients"] == patients and (found["value"] is None) == (patients == 0)
    assert (found["low"] is None) == (found["high"] is None) == (patients < LEAST_PATIENTS)


def test_a_class_counts_the_patients_who_have_it_and_needs_five_of_them():
    confusions = random_confusions(1, 12)
    confusions[4:, 2] = 0  # four patients have others; in the rest it may still be answered
    found = intervals.iou_intervals(confusions, Resamples(12, 1, "test"))
    assert found["iou"]["others"]["patients"] == 4 and found["iou"]["others"]["low"] is None
    assert found["iou"]["tumour"]["patients"] == found["miou"]["patients"] == 12
    assert found["miou"]["low"] is not None


def test_resamples_without_a_class_say_nothing_of_the_mean():
    """Else the interval would mix means over two classes with means over three."""
    confusions = random_confusions(1, 6)
    confusions[1:, 2] = 0
    confusions[:, :2, 2] = 0
    confusions[0, 2] = [0, 0, 10**6]  # others: perfect, and of one patient
    found = intervals.iou_intervals(confusions, Resamples(6, 1, "test"))["miou"]
    two = confusions[:, :2, :2]
    pairs = [np.diagonal(m) / (m.sum(axis=0) + m.sum(axis=1) - np.diagonal(m)) for m in two]
    assert found["low"] > (1 + 2 * np.min(pairs)) / 3


def test_means_over_slides_weigh_slides_and_draw_patients():
    own = np.array([0.2, 0.4, 0.9, np.nan, 0.5, 0.5, 0.5])
    of_patient = np.array([0, 0, 0, 1, 2, 3, 4])
    resamples = Resamples(5, 1, "test")
    found = intervals.mean_interval(own, of_patient, resamples)
    assert found["value"] == pytest.approx(0.5) and found["n"] == 6
    assert found["low"] is None, "only four patients have a slide with a figure"
    own[3] = 0.1
    found = intervals.mean_interval(own, of_patient, resamples)
    drawn = [np.average(own, weights=weights[of_patient]) for weights in resamples.weights]
    assert (found["low"], found["high"]) == pytest.approx(np.percentile(drawn, percentiles(5)), abs=1e-10)
    nothing = intervals.mean_interval(np.full(7, np.nan), of_patient, resamples)
    assert nothing == {"value": None, "low": None, "high": None, "n": 0}


def test_areas_of_joined_bins_lie_within_a_thousandth_and_so_do_their_intervals():
    random = np.random.default_rng(3)
    bins = np.clip((1001 * random.beta([[0.3], [1.5]], [[3.0], [0.6]], (20, 2, 3000))).astype(int), 0, 1000)
    bins[:, :, :1500] //= 500  # a network that is mostly certain
    histogram = np.zeros((20, 3, 2, 1001), np.int64)
    for patient in range(20):
        for side in range(2):
            histogram[patient, :, side] = np.bincount(bins[patient, side], minlength=1001)
    histogram[:10, :, 1] = np.roll(histogram[:10, :, 1], -200, axis=-1)
    whole = histogram.sum(axis=0)
    joined = np.add.reduceat(whole[0], intervals.equal_groups(whole[0]), axis=-1)
    assert joined.shape[-1] <= intervals.AREA_GROUPS + 1
    resamples = Resamples(20, 1, "test")
    exact, quick = figures.areas(resamples.sums(histogram[:, 0])), intervals.area_intervals(histogram, resamples)
    for name in ("auc", "average_precision"):
        assert figures.areas(joined)[name] == pytest.approx(figures.areas(whole[0])[name], abs=1e-3)
        row = quick[name]["tumour"]
        assert (row["low"], row["high"]) == pytest.approx(np.percentile(exact[name], percentiles(20)), abs=1e-3)
        assert row["low"] < row["value"] < row["high"]


def test_better_and_worse_slides_are_those_that_moved_by_more_than_a_hundredth_farthest_first():
    def right(share: float) -> np.ndarray:
        return np.round(1000 * (share * np.eye(3) + (1 - share) / 2 * (1 - np.eye(3)))).astype(np.int64)

    shares = {
        "a": (0.5, 0.6),
        "b": (0.5, 0.502),
        "c": (0.9, 0.5),
        "d": (0.5, 0.8),
        "e": (0.5, 0.4),
        "gone": (0.1, None),
    }
    before = {slug: right(old) for slug, (old, _) in shares.items()}
    after = {slug: right(new) for slug, (_, new) in shares.items() if new is not None}
    facts = {slug: {"patient": f"P{number // 2}"} for number, slug in enumerate(shares)}
    found = difference(before, after, facts, 1, "test")
    assert (found["better"], found["worse"]) == (["d", "a"], ["c", "e"])
    assert found["miou"]["patients"] == 3, "of the slides that both scored"
    summed = [np.sum([one[slug] for slug in after], axis=0) for one in (before, after)]
    assert found["miou"]["value"] == pytest.approx(float(figures.mean_iou(summed[1]) - figures.mean_iou(summed[0])))


def test_sums_by_group_hold_for_none():
    assert sums_by(np.array([], int), np.zeros((0, 3, 3), np.int64), 0).shape == (0, 3, 3)
