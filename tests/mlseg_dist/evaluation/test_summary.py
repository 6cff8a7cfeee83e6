"""evaluation.json as a whole: figures against a direct computation, the same bytes in any order, and little said of little."""

import json
from typing import Any

import numpy as np
import pytest

from mlseg_dist.config import CLASSES
from mlseg_dist.evaluation import VERSION, figures, summary
from mlseg_dist.evaluation.differences import Against
from mlseg_dist.evaluation.intervals import Resamples, iou_differences, iou_intervals
from mlseg_dist.evaluation.operating_point import best_threshold
from mlseg_dist.evaluation.slide_counts import SlideCounts
from tests.mlseg_dist.evaluation.made_counts import (
    FINE,
    made_config,
    made_corpus,
    made_counts,
    made_evaluation,
    made_teachers,
)

KEYS = [
    *("version", "classes", "corpus_sha256", "unit", "grid", "teachers", "steps", "controls", "majority"),
    *("boundary_um", "splits", "figures", "fine", "bad_regions", "calibration", "curves", "slides", "patients"),
    *("domains", "domain_differences", "confounded"),
    *("differences", "against", "cross_fit", "not_scored", "pictures"),
]
STEPS = ("base", "master-1", "control")
CORPUS, CONFIG = made_corpus({"val": 3, "test": 6, "dev-unseen": 6}), made_config()
COUNTS = made_counts(CORPUS, CONFIG, STEPS)
SLIDES = summary.slide_facts(CORPUS, CONFIG.evaluate.splits)
CLASS_OF = np.array([CONFIG.training_classes[name] for name in FINE])


def evaluated(**changes: Any) -> dict[str, Any]:
    given = {"counts": COUNTS, "slides": SLIDES, "corpus": CORPUS, "config": CONFIG, "steps": STEPS}
    return made_evaluation(**{**given, **changes})


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return evaluated()


def text(evaluation: dict[str, Any]) -> str:
    """As a file holds it. Raises ValueError for a number that JSON does not have."""
    return json.dumps(evaluation, allow_nan=False)


def confusion(slugs: list[str], step: str, threshold: float) -> np.ndarray:
    answers = sum(COUNTS[slug, step].answers for slug in slugs)
    return figures.by_training_class(figures.called(answers[: len(FINE)], threshold), CLASS_OF)


def of_split(split: str) -> list[str]:
    return sorted(slug for slug, fact in SLIDES.items() if fact["split"] == split)


def test_the_keys_are_those_that_the_page_reads(found):
    assert list(found) == KEYS and found["version"] == VERSION == 2
    assert found["steps"] == ["base", "master-1", "control"], "what is no step of the campaign comes last"
    assert set(found["figures"]) == set(found["splits"]) == {"val", "test", "dev-unseen"}
    pooled = found["figures"]["test"]["base"]["pooled"]
    by_class = ("iou", "dice", "precision", "recall", "specificity", "auc", "average_precision", "surface_dice")
    assert set(pooled) == {"miou", "accuracy", "confusion", *by_class}
    for name in by_class:
        assert set(pooled[name]) == set(CLASSES)
        for row in pooled[name].values():
            assert set(row) == {"value", "low", "high", "patients"} and row["low"] <= row["value"] <= row["high"]


def test_the_same_bytes_whatever_the_order_in_which_slides_and_counts_come(found):
    other = evaluated(counts=dict(reversed(COUNTS.items())), slides=dict(reversed(SLIDES.items())))
    assert text(other) == text(found)
    read_back = {key: SlideCounts.from_json(json.loads(json.dumps(one.to_json()))) for key, one in COUNTS.items()}
    assert text(evaluated(counts=read_back)) == text(found)


def test_pooled_figures_are_those_of_all_cells_at_the_teachers_threshold(found):
    for step in STEPS:
        expected = confusion(of_split("test"), step, 0.4)
        row = found["figures"]["test"][step]["pooled"]
        assert row["confusion"] == expected.tolist()
        assert row["miou"]["value"] == figures.plain(expected)["miou"] and row["miou"]["patients"] == 6
        scores = sum(COUNTS[slug, step].scores for slug in of_split("test"))
        assert row["auc"]["tumour"]["value"] == figures.curve(figures.one_against_rest(scores)[1])["auc"]
        assert row["auc"]["tumour"]["value"] == found["curves"]["test"][step]["tumour"]["auc"]
    assert sum(found["splits"]["test"]["pixels"].values()) == expected.sum()
    assert found["splits"]["test"]["majority"]["accuracy"] == found["splits"]["test"]["prevalence"]["background"]


def test_slides_and_patients_have_figures_of_their_own(found):
    slug = of_split("test")[0]
    row = found["slides"][slug]
    own = confusion([slug], "base", 0.4)
    assert row["figures"]["base"]["confusion"] == own.tolist()
    assert row["unanswered"] == {step: COUNTS[slug, step].unanswered for step in STEPS}
    patient = found["patients"]["test"][row["patient"]]
    assert slug in patient["slides"] and len(patient["slides"]) == 2
    both = confusion(patient["slides"], "base", 0.4)
    assert patient["figures"]["base"]["miou"] == figures.plain(both)["miou"]
    means = found["figures"]["test"]["base"]
    patients = [one["figures"]["base"]["miou"] for one in found["patients"]["test"].values()]
    assert means["per_patient"]["miou"]["value"] == pytest.approx(np.mean(patients))
    slides = [found["slides"][slug]["figures"]["base"]["miou"] for slug in of_split("test")]
    assert (
        means["per_slide"]["miou"]["value"] == pytest.approx(np.mean(slides)) and means["per_slide"]["miou"]["n"] == 12
    )


def test_val_figures_take_each_patient_at_the_threshold_chosen_on_the_others(found):
    fitted = found["cross_fit"]["base"]
    assert fitted["patients"] == 3 and list(fitted["thresholds"]) == ["val-p00", "val-p01", "val-p02"]
    total = np.zeros((3, 3), np.int64)
    for patient, threshold in fitted["thresholds"].items():
        own = [slug for slug in of_split("val") if SLIDES[slug]["patient"] == patient]
        rest = sum(COUNTS[slug, "base"].answers[: len(FINE)] for slug in of_split("val") if slug not in own)
        assert threshold == best_threshold(rest, CLASS_OF)
        total += confusion(own, "base", threshold)
    assert found["figures"]["val"]["base"]["pooled"]["confusion"] == total.tolist()


@pytest.mark.parametrize("source", ["config", "command line", "default"])
def test_a_threshold_that_val_did_not_choose_is_taken_for_val_too(source):
    other = evaluated(teachers=made_teachers(STEPS, source))
    assert other["cross_fit"] == {}
    assert other["figures"]["val"]["base"]["pooled"]["confusion"] == confusion(of_split("val"), "base", 0.4).tolist()
    assert other["calibration"]["test"]["base"]["ece_scaled"] is None


def test_one_val_patient_is_decided_at_the_teachers_threshold_and_the_file_says_so():
    one = {key: counts for key, counts in COUNTS.items() if SLIDES[key[0]]["patient"] in ("val-p00", "test-p00")}
    other = evaluated(counts=one)
    assert other["cross_fit"]["base"] == {"patients": 1, "thresholds": {}}
    own = [slug for slug in of_split("val") if SLIDES[slug]["patient"] == "val-p00"]
    assert other["figures"]["val"]["base"]["pooled"]["confusion"] == confusion(own, "base", 0.4).tolist()
    row = other["figures"]["test"]["base"]["pooled"]["miou"]
    assert (row["low"], row["high"], row["patients"]) == (None, None, 1) and row["value"] is not None
    assert other["figures"]["dev-unseen"]["base"]["pooled"]["miou"]["value"] is None


def test_fine_classes_say_what_their_pixels_were_called(found):
    slugs = of_split("test")
    called = figures.called(sum(COUNTS[slug, "base"].answers[: len(FINE)] for slug in slugs), 0.4)
    rows = found["fine"]["test"]["base"]
    assert set(rows) == set(FINE) - {"unknown"}, "what training ignores is counted nowhere"
    dcis = rows["dcis"]
    assert list(dcis["called"].values()) == called[FINE.index("dcis")].tolist()
    for name, own in {"stroma": "background", "tumour": "tumour", "dcis": "others"}.items():
        assert rows[name]["recall"]["value"] == rows[name]["called"][own] / rows[name]["pixels"]
    bad = found["bad_regions"]["test"]["base"]
    assert set(bad["each"]) == {"fold", "blur"}
    assert bad["pixels"] == rows["fold"]["pixels"] + rows["blur"]["pixels"]
    expected = (rows["fold"]["called"]["others"] + rows["blur"]["called"]["others"]) / bad["pixels"]
    assert bad["recall"]["value"] == pytest.approx(expected) and bad["recall"]["low"] < expected < bad["recall"]["high"]


def test_the_difference_of_bad_regions_is_paired(found):
    row = next(row for row in found["differences"]["test"] if (row["from"], row["to"]) == ("base", "master-1"))
    ends = [found["bad_regions"]["test"][step]["recall"] for step in ("base", "master-1")]
    gain = row["bad_regions"]
    assert (
        gain["value"] == pytest.approx(ends[1]["value"] - ends[0]["value"]) and gain["patients"] == ends[0]["patients"]
    )
    assert gain["low"] < gain["value"] < gain["high"]
    apart = sum((one["high"] - one["low"]) ** 2 for one in ends) ** 0.5
    assert gain["high"] - gain["low"] < apart, "the same patients are drawn for both"


def test_differences_are_those_of_pooled_figures_step_by_step_and_from_first_to_last(found):
    rows = found["differences"]["test"]
    assert [(row["from"], row["to"]) for row in rows] == [
        ("base", "master-1"),
        ("master-1", "control"),
        ("base", "control"),
    ]
    of = {step: found["figures"]["test"][step]["pooled"]["miou"]["value"] for step in STEPS}
    for row in rows:
        assert row["miou"]["value"] == pytest.approx(of[row["to"]] - of[row["from"]])
        assert row["miou"]["low"] < row["miou"]["value"] < row["miou"]["high"]
    both = [
        np.array([confusion(one["slides"], step, 0.4) for one in found["patients"]["test"].values()])
        for step in ("base", "master-1")
    ]
    draws = Resamples(6, CONFIG.seed, "test")
    assert iou_differences(*both, draws)["iou"] == rows[0]["iou"], "on the draws of the split's own figures"
    assert iou_intervals(both[0], draws)["miou"] == found["figures"]["test"]["base"]["pooled"]["miou"]
    assert set(rows[0]["better"]) | set(rows[0]["worse"]) <= set(of_split("test"))


def test_a_slide_that_one_step_did_not_score_is_left_out_of_comparisons_with_it():
    slug = of_split("test")[0]
    counts = {key: one for key, one in COUNTS.items() if key != (slug, "base")}
    row = {"slide": slug, "split": "test", "step": "base", "why": "2 % of the patches got no number"}
    other = evaluated(counts=counts, not_scored=[row])
    assert other["not_scored"] == [row] and set(other["slides"][slug]["figures"]) == {"master-1", "control"}
    rest = of_split("test")[1:]
    expected = [figures.plain(confusion(rest, step, 0.4))["miou"] for step in ("base", "master-1")]
    assert other["differences"]["test"][0]["miou"]["value"] == pytest.approx(expected[1] - expected[0])
    assert other["splits"]["test"]["slides"] == 12, "it has pixels, as other steps show"


def test_another_run_is_compared_on_the_same_slides_with_its_own_thresholds(found):
    theirs = {(slug, "old"): COUNTS[slug, "base"] for slug in SLIDES}
    teacher = {"old": {"sha256": "0", "threshold": 0.6, "temperature": None, "source": "config"}}
    against = Against("other", {"master-1": "old"}, theirs, teacher)
    other = evaluated(against=against)["against"]
    assert (other["name"], other["steps"]) == ("other", {"master-1": "old"})
    (row,) = other["differences"]["test"]
    before = figures.plain(confusion(of_split("test"), "base", 0.6))["miou"]
    assert (row["from"], row["to"]) == ("old", "master-1")
    assert row["miou"]["value"] == pytest.approx(
        found["figures"]["test"]["master-1"]["pooled"]["miou"]["value"] - before
    )
    same = Against("itself", {"base": "base"}, COUNTS, made_teachers(STEPS))
    for rows in evaluated(against=same)["against"]["differences"].values():
        assert rows[0]["miou"]["value"] == 0 and rows[0]["better"] == rows[0]["worse"] == []


def test_domains_pool_the_held_out_splits_and_name_what_is_confounded(found):
    rows = {(row["factor"], row["value"]): row for row in found["domains"]["base"]}
    stained = [slug for slug, fact in SLIDES.items() if fact["stain"] == "H&E" and fact["split"] != "val"]
    row = rows["stain", "H&E"]
    assert (row["slides"], row["unseen"]) == (len(stained), True) and not rows["stain", "ER"]["unseen"]
    assert row["miou"]["value"] == pytest.approx(figures.plain(confusion(stained, "base", 0.4))["miou"])
    assert found["confounded"] == [["stain", "scanner", "source"]]
    assert found["splits"]["test"]["unseen"] == {"stain": ["H&E"], "scanner": ["Motic"], "source": ["DS7"]}


def test_a_class_that_a_split_does_not_have_is_no_part_of_its_mean():
    for one in (counts := {key: SlideCounts.from_json(one.to_json()) for key, one in COUNTS.items()}).values():
        one.answers[FINE.index("tumour")] = one.scores[1] = one.log_odds[1] = one.surface[1] = 0
    other = evaluated(counts=counts)
    text(other)
    pooled = other["figures"]["test"]["base"]["pooled"]
    assert pooled["iou"]["tumour"] == {"value": None, "low": None, "high": None, "patients": 0}
    assert pooled["auc"]["tumour"]["value"] is None and pooled["surface_dice"]["tumour"]["value"] is None
    kept = [pooled["iou"][name]["value"] for name in ("background", "others")]
    assert pooled["miou"]["value"] == pytest.approx(np.mean(kept)) and pooled["miou"]["low"] is not None
    assert other["curves"]["test"]["base"]["tumour"]["threshold"] == []
    assert other["differences"]["test"][0]["iou"]["tumour"]["value"] is None


def test_a_patient_without_any_pixel_counts_nowhere(found):
    empty = [slug for slug in of_split("test") if SLIDES[slug]["patient"] == "test-p05"]
    counts = {key: SlideCounts(unanswered=9) if key[0] in empty else one for key, one in COUNTS.items()}
    other = evaluated(counts=counts)
    left_out = evaluated(counts={key: one for key, one in COUNTS.items() if key[0] not in empty})
    for part in ("figures", "domains", "differences", "patients", "splits", "curves", "cross_fit"):
        assert text(other[part]) == text(left_out[part])
    assert other["splits"]["test"]["patients"] == 5
    assert other["slides"][empty[0]]["figures"] == {} and other["slides"][empty[0]]["unanswered"]["base"] == 9


def test_a_network_that_returned_nothing_has_no_figures_and_spoils_none(found):
    """All its slides are reported; the other steps stay as they were."""
    counts = {key: one for key, one in COUNTS.items() if key[1] != "master-1"}
    rows = [
        {"slide": slug, "split": fact["split"], "step": "master-1", "why": "no numbers"}
        for slug, fact in SLIDES.items()
    ]
    other = evaluated(counts=counts, not_scored=rows)
    text(other)
    nothing = other["figures"]["test"]["master-1"]
    assert nothing["pooled"]["miou"] == {"value": None, "low": None, "high": None, "patients": 0}
    assert nothing["per_slide"]["miou"]["n"] == 0 and other["domains"]["master-1"] == []
    assert other["figures"]["test"]["base"] == found["figures"]["test"]["base"]
    assert other["differences"]["test"][0]["miou"]["value"] is None and len(other["not_scored"]) == len(SLIDES)


@pytest.mark.parametrize("kept", [0, 1])
def test_one_slide_or_none_at_all(kept):
    slug = of_split("test")[0]
    counts = {key: one for key, one in COUNTS.items() if kept and key[0] == slug}
    other = evaluated(counts=counts)
    text(other)
    row = other["figures"]["test"]["base"]
    assert row["pooled"]["miou"]["patients"] == kept and (row["pooled"]["miou"]["value"] is None) == (not kept)
    assert row["per_slide"]["miou"]["n"] == kept and other["confounded"] == []
    assert text(evaluated(counts={}, slides={}, teachers={}))


def test_the_majority_class_passes_over_what_training_ignores():
    assert CLASSES[summary.majority_class(CORPUS, CONFIG.training_classes)] == "background"
    ignored = {**CONFIG.training_classes, "stroma": 255}
    assert CLASSES[summary.majority_class(CORPUS, ignored)] == "tumour"
