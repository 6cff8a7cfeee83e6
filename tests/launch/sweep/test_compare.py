"""Comparisons: paired over seeds and patients, on the slides that were asked for, with an honest interval and a verdict."""

import numpy as np
import pytest

from launch.sweep.compare import compare, scores
from launch.sweep.config import SweepConfig
from launch.sweep.table import markdown
from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_dist.evaluation.figures import mean_iou

BASE = {
    "name": "trial",
    "hypothesis": "arm b is better than arm a",
    "budget": "1 core hour",
    "stop": "never",
    "campaign": "c.yaml",
    "arms": {"a": [], "b": ["x=1"]},
    "seeds": [1, 2, 3],
}
GAIN = {"name": "gain", "of": {"arm": "b"}, "over": {"arm": "a"}, "at_least": 0.02, "low_above": 0.0}


def sweep(**changes) -> SweepConfig:
    return validate({**BASE, "compare": [GAIN], **changes}, SweepConfig, "sweep.yaml")


def row(arm: str, seed: int, right: dict[str, float], patients: int = 12, noise: float = 0.0, by=("X", "Y")) -> dict:
    """right: step -> share of the pixels that are called what they are. Patients differ, in the same way for all arms."""
    hard = np.random.default_rng(5).uniform(-0.1, 0.1, patients)
    slides = []
    for patient in range(patients):
        confusions = {}
        for step, share in right.items():
            part = np.clip(share + hard[patient] + np.random.default_rng((seed, patient)).normal(0, noise), 0, 1)
            hit = round(1000 * part)
            confusions[step] = [hit, 1000 - hit, 0, 0, hit, 1000 - hit, 1000 - hit, 0, hit]
        facts = {"split": "test", "stain": "ER", "scanner": by[patient % 2], "source": "DS1"}
        slides.append({"patient": patient, **facts, "confusions": confusions})
    return {
        "arm": arm,
        "seed": seed,
        "steps": list(right),
        "own_steps": list(right),
        "slides": slides,
        "core_hours": 0.1,
    }


def rows(a: float, b: float, seeds=(1, 2, 3), **more) -> list[dict]:
    return [
        row(arm, seed, {"base": 0.5, "last": share}, **more) for seed in seeds for arm, share in (("a", a), ("b", b))
    ]


def test_scores_are_those_of_the_evaluation():
    cells = np.random.default_rng(1).integers(0, 1000, (7, 1, 3, 3))
    assert scores(cells) == pytest.approx(mean_iou(cells[:, 0]))
    two = np.stack([cells[0, 0], cells[1, 0]])
    assert scores(two) == pytest.approx(mean_iou(two).mean()), "the mean of the groups' figures"


def test_a_gain_and_its_absence():
    (gain,) = compare(sweep(), rows(0.7, 0.8, noise=0.02))
    assert gain.passed and gain.seeds == (1, 2, 3) and gain.patients == 12
    assert gain.low is not None and 0 < gain.low < gain.difference < gain.high
    assert gain.difference == pytest.approx((gain.of - gain.over).mean())
    (same,) = compare(sweep(), rows(0.7, 0.7, noise=0.02))
    assert same.difference == 0 and same.passed is False, "the same draws on both sides cancel"


def test_pairing_makes_the_interval_narrow():
    paired = compare(sweep(), rows(0.7, 0.75))[0]
    assert paired.high - paired.low < 0.01, "patients differ by .2, and both sides see the same ones"


def test_only_some_slides_and_the_mean_over_groups():
    found = rows(0.7, 0.8)
    only = {**GAIN, "slides": {"only": {"scanner": ["X"]}}}
    (result,) = compare(sweep(compare=[only]), found)
    assert result.patients == 6
    direct = [
        float(
            mean_iou(sum(np.array(s["confusions"]["last"]).reshape(3, 3) for s in one["slides"] if s["scanner"] == "X"))
        )
        for one in found
        if one["arm"] == "b"
    ]
    assert result.of == pytest.approx(direct)
    (mean,) = compare(sweep(compare=[{**GAIN, "slides": {"mean_over": "scanner"}}]), found)
    parts = [
        compare(sweep(compare=[{**GAIN, "slides": {"only": {"scanner": [name]}}}]), found)[0].of for name in ("X", "Y")
    ]
    assert mean.of == pytest.approx(np.mean(parts, 0))


def test_a_share_of_a_gap_and_another_step():
    gap = {"name": "gap", "of": {"arm": "b"}, "over": {"arm": "a"}, "at_least": 0.0}
    half = {
        "name": "half",
        "of": {"arm": "b"},
        "over": {"arm": "b", "step": "base"},
        "at_least": 0.5,
        "share_of": "gap",
    }
    found = {result.comparison.name: result for result in compare(sweep(compare=[half, gap]), rows(0.7, 0.8))}
    assert found["half"].wanted == pytest.approx(0.5 * found["gap"].difference)
    assert found["half"].over.mean() < found["gap"].over.mean(), "the base of b, not its last step"


def test_too_little_for_an_interval_or_a_verdict():
    assert compare(sweep(), [])[0].seeds == ()
    one = compare(sweep(), rows(0.7, 0.8, seeds=(1,)))[0]
    assert one.passed is None and one.low is None
    few = compare(sweep(), rows(0.7, 0.8, patients=4))[0]
    assert few.low is None and few.passed is False, "an interval was asked for, and four patients give none"
    text = markdown(sweep(), rows(0.7, 0.8, patients=4), [few])
    assert "4 patients: none" in text and "**not reached**" in text
    assert "seeds are missing" in markdown(sweep(), [], compare(sweep(), rows(0.7, 0.8, seeds=(1, 2))))
    assert "no seed is finished" in markdown(sweep(), [], compare(sweep(), []))


def test_a_comparison_that_cannot_be_made_is_named():
    for change, said in (
        ({"slides": {"split": "val"}}, "no slide is left"),
        ({"of": {"arm": "b", "step": "nobody"}}, "step nobody has no figures"),
    ):
        with pytest.raises(UserError, match=said):
            compare(sweep(compare=[{**GAIN, **change}]), rows(0.7, 0.8))
    with pytest.raises(UserError, match="no arm 'c'"):
        sweep(compare=[{**GAIN, "of": {"arm": "c"}}])
    with pytest.raises(UserError, match="no comparison 'gap'"):
        sweep(compare=[{**GAIN, "share_of": "gap"}])
    with pytest.raises(UserError, match="twice"):
        sweep(seeds=[1, 1])


SETS = {"some": {"only": {"scanner": ["X"]}}, "each": {"mean_over": "scanner"}, "nobody's": {"split": "val"}}


def test_a_set_of_slides_has_a_name():
    found = rows(0.7, 0.8)
    named, spelled = (
        compare(sweep(sets=SETS, compare=[{**GAIN, "slides": on}]), found)[0] for on in ("some", SETS["some"])
    )
    assert named.of == pytest.approx(spelled.of) and (named.low, named.high) == (spelled.low, spelled.high)
    with pytest.raises(UserError, match="no set 'nowhere'; there are: some, each, nobody's"):
        sweep(sets=SETS, compare=[{**GAIN, "slides": "nowhere"}])


def test_the_table_has_each_arm_on_each_set():
    found = rows(0.7, 0.8, seeds=(1, 2), noise=0.02)
    wanted = sweep(sets=SETS, compare=[{**GAIN, "slides": "some"}])
    results = compare(wanted, found)
    text = markdown(wanted, found, results)
    assert "| gain | some, 6 patients |" in text and "- **some**: test, scanner X\n" in text
    (cells,) = [line.split(" | ") for line in text.splitlines() if line.startswith("| b | last | 2 |")][:1]
    assert cells[3] == f"{results[0].of.mean():.3f} ± {results[0].of.std(ddof=1):.3f}"
    assert cells[5] == "– |", "no slide of val was scored"
    each = [line.split(" | ")[3] for line in text.splitlines() if line.startswith("| b | last |")][1:]
    assert each == [f"{score:.3f}" for score in results[0].of]
    assert "| arm | step | seeds | test |" in markdown(sweep(), found, compare(sweep(), found)), "no sets: each split"


def test_rows_that_lie_elsewhere_are_named_in_one_line_an_arm():
    found = [{**one, "found_in": f"bench/{one['arm']}-{one['seed']}.json"} for one in rows(0.7, 0.8)]
    text = markdown(sweep(), found, compare(sweep(), found))
    assert "\n- a, seeds 1, 2, 3: bench/a\n- b, seeds 1, 2, 3: bench/b\n" in text and "; 0.0 core hours" in text
