"""The first two sentences: what became worse before what became better, no claim that the figures do not carry."""

import copy
from pathlib import Path
from typing import Any

import pytest

from mlseg_core.files import write_json
from mlseg_dist.report.figures import ladder
from mlseg_dist.report.headline import headline
from mlseg_dist.report.metrics import checks, in_words, metrics
from mlseg_dist.report.verdict import NOTABLE_IN_DOMAIN, Change, falls, sentences
from mlseg_dist.report.words import NARROW, limits, listed, share, signed, with_limits
from tests.mlseg_dist.report.campaign import Reported, config_of, evaluation_of, made_run, with_control

PASSED = {
    "passed": True,
    "checks": [{"check": "last_over_base", "split": "test", "margin": 0, "got": 1, "passed": True}],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Reported:
    return made_run(tmp_path_factory.mktemp("verdict"))


def with_evaluation(run: Reported, folder: Path, found: dict[str, Any], **changes: Any) -> Reported:
    """A run with this evaluation alone."""
    other = Reported(folder / "run", config_of(**changes) if changes else run.config)
    write_json(other.evaluate / "evaluation.json", found)
    return other


def plain(said: str) -> str:
    return said.replace(NARROW, " ")


def badge(run: Reported) -> str:
    return headline(run.sources(), PASSED).split('class="badge ')[1].split("</span>")[0]


def test_what_became_worse_comes_first_and_the_badge_is_not_green(run):
    first, second, third, *_ = map(plain, sentences(run.sources()))
    found = run.sources().evaluation
    recall = [found["bad_regions"]["test"][step]["recall"]["value"] for step in ("base", "master-2")]
    assert recall[1] < recall[0]
    assert first.startswith("Between base and master-2 the recall of bad regions fell from ")
    ends = [share(value, 2) for value in recall]
    gain = run.sources().difference("test", "base", "master-2")["bad_regions"]
    paired = f"{signed(gain['value'], 2)} {plain(limits(gain, 2, sign=True))}"
    assert f"from {ends[0]} to {ends[1]} on the test slides (paired difference {paired})" in first
    difference = run.sources().difference("test", "base", "master-2")["miou"]
    start, end = (plain(with_limits(found["figures"]["test"][step]["pooled"]["miou"])) for step in ("base", "master-2"))
    assert second == (
        f"Mean IoU on the test slides rose from {start} to {end} (6 patients; paired difference "
        f"{signed(difference['value'], 2)} {plain(limits(difference, 2, sign=True))})."
    )
    assert "U-Net (base) to an m-UNet (from master-1 on) is part" in third
    kind, said = badge(run).split('">')
    assert kind == "bad" and "all 1 checks passed" in said and "worse" in said


def test_it_is_green_only_where_nothing_became_worse(run, tmp_path):
    found = evaluation_of(run.config, worse=0.3)
    fine = with_evaluation(run, tmp_path, found)
    assert falls(fine.sources()) == []
    assert "none of the compared figures fell beyond its interval" in sentences(fine.sources())[0]
    assert badge(fine).startswith("good")
    failed = {"passed": False, "checks": [{**PASSED["checks"][0], "passed": False}]}
    assert '<span class="badge bad">1 of 1 checks failed</span>' in headline(fine.sources(), failed)


def test_a_class_that_fell_on_one_stain_is_told_though_the_mean_rose(run, tmp_path):
    found = copy.deepcopy(evaluation_of(run.config, worse=0.3))
    row = next(row for row in found["domains"]["master-2"] if row["value"] == "H&E")
    row["iou"]["tumour"] = {"value": 0.10, "low": 0.08, "high": 0.12, "patients": 6}
    paired = next(row for row in found["domain_differences"]["rows"] if row["value"] == "H&E")
    paired["iou"]["tumour"] = {"value": -0.3, "low": -0.35, "high": -0.25, "patients": 6}
    other = with_evaluation(run, tmp_path, found)
    assert "tumour IoU fell from " in sentences(other.sources())[0] and "on H&E" in sentences(other.sources())[0]
    assert badge(other).startswith("bad")


def test_below_five_patients_nothing_is_clear(run, tmp_path):
    found = evaluation_of(run.config, {"val": 2, "test": 2})
    few = with_evaluation(run, tmp_path, found)
    said = [plain(one) for one in sentences(few.sources())]
    assert "(n = 2 patients, no interval)" in said[0] and said[1].endswith("(n = 2 patients, no interval).")
    assert not any(one.is_clear for one in falls(few.sources()))
    assert badge(few).startswith("warn") and "may be worse" in badge(few)


def test_a_gain_within_its_interval_is_no_clear_change(run, tmp_path):
    found = evaluation_of(run.config, better=0.0, worse=0.0)
    same = with_evaluation(run, tmp_path, found)
    assert "shows no clear change: " in sentences(same.sources())[1]


def test_the_rounds_get_no_credit_for_another_network(run, tmp_path):
    found = evaluation_of(run.config, {"test": 6})
    text = plain(" ".join(sentences(with_evaluation(run, tmp_path / "a", found).sources())))
    paired = found["differences"]["test"][1]["miou"]
    assert (found["differences"]["test"][1]["from"], found["differences"]["test"][1]["to"]) == ("master-1", "master-2")
    assert f"mean IoU changed by {signed(paired['value'], 2)} {plain(limits(paired, 2, sign=True))}" in text
    two = config_of(("base", "master-1"))
    text = " ".join(
        sentences(
            with_evaluation(run, tmp_path / "b", evaluation_of(two, {"test": 6}), steps=("base", "master-1")).sources()
        )
    )
    assert "cannot be told from these steps" in text
    raw = run.config.model_dump()
    same = config_of()
    same = same.model_copy(
        update={"steps": tuple(one.model_copy(update={"model": same.steps[1].model}) for one in same.steps)}
    )
    other = Reported(tmp_path / "c" / "run", same)
    write_json(other.evaluate / "evaluation.json", found)
    assert "network" not in " ".join(sentences(other.sources())) and raw


def test_one_step_alone_is_compared_with_one_constant_answer(run, tmp_path):
    config = config_of(("base",))
    one = with_evaluation(run, tmp_path, evaluation_of(config, {"test": 6}), steps=("base",))
    said = sentences(one.sources())
    assert said[0].startswith("base reaches a mean IoU of ") and "always answering background gives ." in said[0]


def test_unpaired_changes_are_judged_by_both_intervals():
    def at(value: float, half: float) -> dict[str, Any]:
        return {"value": value, "low": value - half, "high": value + half, "patients": 6}

    assert Change("", "", at(0.5, 0.03), at(0.44, 0.04)).is_clear
    assert not Change("", "", at(0.5, 0.05), at(0.44, 0.05)).is_clear
    assert not Change("", "", at(0.5, 0.05), at(0.44, 0.05)).is_fall
    assert Change("", "", at(0.5, 0.05), at(0.44, 0.05), always_told=True).is_fall
    wide = Change("", "", at(0.5, 0.2), at(0.44, 0.2), at(-0.06, 0.02))
    assert wide.is_clear and wide.is_fall, "the paired difference decides"
    alone = {"value": 0.5}, {"value": 0.46}
    assert Change("", "", *alone).is_fall and not Change("", "", *alone, notable=NOTABLE_IN_DOMAIN).is_fall
    assert not Change("", "", {}, {}).is_fall and Change("", "", {}, at(0.3, 0.1)).size == 0


def test_figures_in_words():
    assert [share(x) for x in (0.7966, 1.0, 0.0, None, -0.02)] == [".797", "1.000", ".000", "–", "−.020"]
    assert [signed(x, 2) for x in (0.114, -0.05, -0.0001, None)] == ["+.11", "−.05", "+.00", "–"]
    assert listed(["a", "b", "c"]) == "a, b and c" and listed(["a"]) == "a" and listed([]) == ""
    assert with_limits({"value": 0.5, "low": None, "high": None}) == ".50"


def test_what_the_last_step_alone_made_worse_is_told(run, tmp_path):
    found = evaluation_of(run.config, worse=0.3)
    row = found["differences"]["test"][1]
    assert (row["from"], row["to"]) == ("master-1", "master-2")
    row["miou"] = {"value": -0.03, "low": -0.05, "high": -0.01, "patients": 6}
    said = plain(sentences(with_evaluation(run, tmp_path, found).sources())[0])
    assert "on the test slides since master-1 (paired difference −.03 [−.05, −.01])" in said


def test_falls_are_marked_on_the_ladder():
    figures_of = {"test": {"base": {"value": 0.5, "low": 0.4, "high": 0.6, "patients": 6}}}
    drawn = [ladder(["base"], figures_of, {"test": 0.3}, {"test": marked}, {}) for marked in (set(), {"base"})]
    assert [b"worse than the step before" in svg for svg in drawn] == [False, True]
    assert drawn[1] == ladder(["base"], figures_of, {"test": 0.3}, {"test": {"base"}}, {})


BESIDE = ("base", "human-only-master-2", "master-2")
"""The control does worse than the step that it is compared with; the other way round with HARM."""
HARM = ("base", "master-2", "human-only-master-2")


@pytest.mark.parametrize(("order", "word"), [(BESIDE, ""), (HARM, ": they do harm")])
def test_what_the_rounds_gave_over_people_alone_comes_first(tmp_path, order, word):
    config, found = with_control(order)
    assert found["steps"] == ["base", "master-2"] and found["controls"] == {"human-only-master-2": "master-2"}
    run = Reported(tmp_path / "run", config)
    write_json(run.evaluate / "evaluation.json", found)
    sources = run.sources()
    first, second, *_ = map(plain, sentences(sources))
    row = sources.difference("test", "human-only-master-2", "master-2")["miou"]
    gain = f"{signed(row['value'], 2)} {plain(limits(row, 2, sign=True))}"
    assert first.startswith("Over the same steps on people’s labels alone, the rounds of labels changed mean IoU by ")
    assert f"{gain} on the test slides" in first and first.endswith(f"(6 patients){word}.")
    assert second.startswith("Between base and master-2 ")
    assert (row["low"] > 0) == (order is BESIDE) and (row["high"] < 0) == (order is HARM)
    if order is HARM:
        assert badge(run).startswith("bad")
    page = headline(sources, PASSED)
    assert plain(page).count("Over the same steps") == 1


def test_without_an_evaluated_control_nothing_is_said_of_one(tmp_path):
    config, found = with_control(("base", "master-2"))
    run = Reported(tmp_path / "run", config)
    write_json(run.evaluate / "evaluation.json", found)
    assert found["controls"] == {} and sentences(run.sources())[0].startswith("Between base and master-2")


def test_a_check_of_the_last_step_over_its_control(tmp_path):
    config, found = with_control(BESIDE, checks={"last_over_control": {"test": 0.0, "val": 0.99}})
    said = checks(config.checks, found)["checks"]
    assert [row["passed"] for row in said] == [True, False]
    assert in_words(said[0]["check"]) == "mean IoU, last step over human labels alone"
    figures = found["figures"]["test"]
    gain = figures["master-2"]["pooled"]["miou"]["value"] - figures["human-only-master-2"]["pooled"]["miou"]["value"]
    assert said[0]["got"] == pytest.approx(gain)
    rows = metrics(found)["controls"]
    assert [(row["step"], row["of"]) for row in rows] == [("human-only-master-2", "master-2")]
    _, without = with_control(("base", "master-2"))
    assert not checks(config.checks, without)["checks"][0]["passed"], "a figure that is missing does not pass"
