"""metrics.json, checks.json and W&B's summary from evaluation.json; what checks were added changes no earlier campaign."""

import json

import pytest

from mlseg_dist.config import CLASSES, CheckConfig
from mlseg_dist.evaluation import summary
from mlseg_dist.report.metrics import checks, in_words, metrics
from mlseg_dist.tracking.published import published
from tests.mlseg_dist.evaluation.made_counts import made_config, made_corpus, made_counts, made_evaluation

EVALUATION = made_evaluation()


def test_metrics_keep_their_form_and_say_intervals_beside():
    found = metrics(EVALUATION)
    assert [step["step"] for step in found["steps"]] == ["base", "master-1"]
    for step in found["steps"]:
        assert set(step) == {"step", "val", "test", "dev-unseen"}
        for split in ("val", "test", "dev-unseen"):
            pooled = EVALUATION["figures"][split][step["step"]]["pooled"]
            assert step[split]["miou"] == pooled["miou"]["value"] and set(step[split]["iou"]) == set(CLASSES)
            assert {key: step[split][key] for key in ("low", "high", "patients")} == {
                key: pooled["miou"][key] for key in ("low", "high", "patients")
            }
    assert found["steps"][0]["test"]["low"] < found["steps"][0]["test"]["miou"] < found["steps"][0]["test"]["high"]
    assert found["steps"][0]["val"]["low"] is None, "three patients"
    assert set(found["test"]) == {"step", "seen", "dev-unseen", "majority"} and found["test"]["step"] == "master-1"
    assert found["test"]["seen"] == found["steps"][-1]["test"]
    assert found["test"]["majority"]["val"]["miou"] == EVALUATION["splits"]["val"]["majority"]["miou"]
    assert metrics(None) == metrics(made_evaluation(counts={}, teachers={}))
    assert metrics(None) == {"steps": [], "test": {}, "labels": [], "gain": ""}


def test_a_check_passes_at_its_margin_and_fails_without_figures():
    got = checks(CheckConfig(last_over_base={"test": 0.0}), EVALUATION)["checks"][0]["got"]
    of = {step["step"]: step["test"]["miou"] for step in metrics(EVALUATION)["steps"]}
    assert got == of["master-1"] - of["base"] > 0
    assert checks(CheckConfig(last_over_base={"test": got}), EVALUATION)["passed"]
    assert not checks(CheckConfig(last_over_base={"test": got + 1e-9}), EVALUATION)["passed"]
    missing = checks(CheckConfig(base_over_majority={"final-unseen": -5.0}), EVALUATION)
    row = {"check": "base_over_majority", "split": "final-unseen", "margin": -5.0, "got": None, "passed": False}
    assert missing == {"passed": False, "checks": [row]}
    assert not checks(CheckConfig(bad_regions_last_over_base={"final-unseen": -5.0}), EVALUATION)["passed"]
    assert not checks(CheckConfig(bad_regions_last_over_base={"test": -5.0}), None)["passed"]
    assert checks(CheckConfig(), EVALUATION) == {"passed": True, "checks": []}


def test_bad_regions_can_be_checked_where_there_are_any():
    bad = EVALUATION["bad_regions"]["test"]
    gain = bad["master-1"]["recall"]["value"] - bad["base"]["recall"]["value"]
    (row,) = checks(CheckConfig(bad_regions_last_over_base={"test": gain}), EVALUATION)["checks"]
    assert row["got"] == gain and row["passed"]
    assert not checks(CheckConfig(bad_regions_last_over_base={"test": gain + 0.001}), EVALUATION)["passed"]
    assert in_words("bad_regions_last_over_base") == "recall of bad regions, last step over base"
    assert in_words("last_over_majority") == "mean IoU, last step over always the majority class"


def test_where_nobody_annotated_bad_regions_there_is_no_row():
    corpus, config = made_corpus({"test": 2}), made_config()
    counts = made_counts(corpus, config)
    for one in counts.values():
        one.answers[[corpus.classes.index(name) for name in ("fold", "blur")]] = 0
    clean = made_evaluation(
        {"test": 2}, counts=counts, slides=summary.slide_facts(corpus, config.evaluate.splits), corpus=corpus
    )
    assert checks(CheckConfig(bad_regions_last_over_base={"test": 0.5}), clean) == {"passed": True, "checks": []}


def test_a_check_that_is_not_set_is_in_no_dump():
    """Fingerprints of earlier campaigns hash this dump, and their frozen code refuses keys that it does not know."""
    assert set(CheckConfig().model_dump()) == {"last_over_base", "base_over_majority", "last_over_majority"}
    config = CheckConfig(bad_regions_last_over_base={"test": -0.1})
    assert config.model_dump(mode="json")["bad_regions_last_over_base"] == {"test": -0.1}
    assert CheckConfig.model_validate(config.model_dump()) == config
    assert "bad_regions" not in json.dumps(made_config().model_dump(mode="json"))


@pytest.mark.parametrize("version", [1, 2])
def test_the_summary_of_w_and_b_has_figures_of_this_version_only(tmp_path, version):
    phase = tmp_path / "phases" / "09-evaluate"
    phase.mkdir(parents=True)
    (phase / "evaluation.json").write_text(json.dumps({**EVALUATION, "version": version}))
    done = {"kind": "evaluate", "outputs": {"path": "phases/09-evaluate/evaluation.json"}, "seconds": 3.0, "host": "h"}
    rows, found = published(phase, done)
    assert rows == []
    if version == 1:
        assert set(found) == {"phase/seconds", "phase/host"}
        return
    pooled = EVALUATION["figures"]["test"]["base"]["pooled"]
    assert found["test/base/pooled/iou/tumour"] == pooled["iou"]["tumour"]["value"]
    assert found["test/base/pooled/miou_low"] == pooled["miou"]["low"]
    assert found["test/base/per_slide/miou"] == EVALUATION["figures"]["test"]["base"]["per_slide"]["miou"]["value"]
