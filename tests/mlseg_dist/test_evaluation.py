"""Counting against torchmetrics and scikit-learn; the whole evaluation against a teacher whose answers are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mlseg_dist.evaluation.scoring import onto_high_grid
from PIL import Image
from sklearn.metrics import average_precision_score, confusion_matrix, precision_score, recall_score, roc_auc_score
from torchmetrics.classification import BinaryROC, MulticlassConfusionMatrix, MulticlassJaccardIndex

import mlseg_dist.evaluation as evaluation
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.views import stored_views
from mlseg_dist.evaluation import counts, pictures, summary
from tests.mlseg_dist.tiny_run import KnowsColours, tiny_run

RANDOM = np.random.default_rng(5)


def labels(shape: tuple[int, ...], classes: tuple[int, ...] = (0, 1, 2, IGNORED)) -> np.ndarray:
    return RANDOM.choice(np.array(classes, np.uint8), shape)


def softmax(shape: tuple[int, ...]) -> np.ndarray:
    odds = np.exp(2 * RANDOM.standard_normal(shape)).astype(np.float32)
    return odds / odds.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("classes", [(0, 1, 2, 255), (0, 2, 255), (1, 255), (0, 1, 2)])
def test_confusion_is_that_of_torchmetrics(classes):
    truth, predicted = labels((4, 32, 32), classes), labels((4, 32, 32), (0, 1, 2))
    metric = MulticlassConfusionMatrix(3, ignore_index=IGNORED)
    expected = metric(torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()).numpy()
    each = counts.confusions(truth, predicted)
    assert each.shape == (4, 3, 3)
    np.testing.assert_array_equal(each.sum(axis=0), expected)
    known = truth[2] != IGNORED
    np.testing.assert_array_equal(each[2], confusion_matrix(truth[2][known], predicted[2][known], labels=[0, 1, 2]))


def test_figures_are_those_of_torchmetrics_and_sklearn():
    truth, predicted = labels((2, 64, 64)), labels((2, 64, 64), (0, 1, 1, 2))
    figures = counts.figures(counts.confusions(truth, predicted).sum(axis=0))
    metric = MulticlassJaccardIndex(3, ignore_index=IGNORED, average="none")
    expected = metric(torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()).numpy()
    np.testing.assert_allclose(list(figures["iou"].values()), expected, atol=1e-6)
    assert figures["miou"] == pytest.approx(expected.mean(), abs=1e-6)
    known = truth != IGNORED
    for key, score in (("precision", precision_score), ("recall", recall_score)):
        np.testing.assert_allclose(
            list(figures[key].values()), score(truth[known], predicted[known], average=None), atol=1e-12
        )
    assert figures["accuracy"] == pytest.approx((truth == predicted)[known].mean())


def test_a_class_that_is_neither_true_nor_predicted_is_left_out_of_the_mean():
    figures = counts.figures(np.array([[6, 2, 0], [2, 10, 0], [0, 0, 0]]))
    assert figures["iou"] == {"background": 0.6, "tumour": pytest.approx(10 / 14), "others": None}
    assert figures["miou"] == pytest.approx((0.6 + 10 / 14) / 2)
    predicted_only = counts.figures(np.array([[6, 2, 1], [2, 10, 0], [0, 0, 0]]))
    assert predicted_only["iou"]["others"] == 0
    assert counts.figures(np.zeros((3, 3), np.int64))["miou"] is None


def test_decision_takes_the_strongest_class_at_or_above_the_threshold_else_background():
    probabilities = np.array([[0.1, 0.45, 0.45], [0.2, 0.5, 0.3], [0.28, 0.28, 0.44], [0.3, 0.25, 0.45]], np.float32)
    decided = counts.decide(probabilities[:, :, None, None], np.float32(0.45))
    assert decided.ravel().tolist() == [1, 1, 0, 2]


@pytest.mark.parametrize("name", ["tumour", "others"])
def test_curves_are_those_of_torchmetrics_and_near_those_of_sklearn(name):
    truth, probabilities = labels((3, 40, 40)), softmax((3, 3, 40, 40))
    number = CLASSES.index(name)
    known = truth != IGNORED
    scores, positive = probabilities[:, number][known], truth[known] == number
    scores = np.where(positive, np.sqrt(scores), scores)  # something to find
    probabilities[:, number][known] = scores
    curve = counts.curves(counts.score_histograms(probabilities, truth)[number])
    fall_out, recall, thresholds = BinaryROC(thresholds=101)(
        torch.from_numpy(scores), torch.from_numpy(positive).long()
    )
    np.testing.assert_allclose(thresholds.numpy()[::-1], curve["threshold"], atol=1e-6)
    np.testing.assert_allclose(recall.numpy()[::-1], curve["recall"], atol=2e-6)
    np.testing.assert_allclose(fall_out.numpy()[::-1], 1 - np.array(curve["specificity"]), atol=2e-6)
    assert curve["auc"] == pytest.approx(roc_auc_score(positive, scores), abs=0.002)
    assert curve["average_precision"] == pytest.approx(average_precision_score(positive, scores), abs=0.01)
    at = scores >= 0.45
    assert curve["iou"][45] == pytest.approx((at & positive).sum() / (at | positive).sum(), abs=1e-6)


def test_curves_of_a_class_that_does_not_occur_say_only_that():
    truth = labels((1, 8, 8), (0, 1))
    assert counts.curves(counts.score_histograms(softmax((1, 3, 8, 8)), truth)[2]) == {"positives": 0, "negatives": 64}


def test_fine_counts_leave_out_what_is_ignored_in_training():
    fine = np.array([[[3, 3, 12, 16]]], np.uint8)
    truth, predicted = np.array([[[1, 1, 2, IGNORED]]], np.uint8), np.array([[[1, 0, 2, 2]]], np.uint8)
    found = counts.fine_counts(fine, truth, predicted)
    assert found[3].tolist() == [1, 1, 0] and found[12].tolist() == [0, 0, 1] and found.sum() == 3


@given(st.lists(st.integers(0, 10**6), min_size=3, max_size=3), st.integers(0, 2))
@settings(max_examples=50, deadline=None)
def test_baseline_gets_the_majority_class_right_and_nothing_else(pixels, answer):
    figures = counts.figures(counts.constant(np.array(pixels), answer))
    for number, name in enumerate(CLASSES):
        if number == answer and sum(pixels):
            assert figures["iou"][name] == pytest.approx(pixels[number] / sum(pixels))
        else:
            assert figures["iou"][name] in (None, 0.0)


def test_per_slide_figures_are_means_over_slides_where_the_class_occurs():
    first, second = np.diag([10, 10, 0]), np.array([[10, 0, 0], [10, 0, 0], [0, 0, 5]])
    found = counts.per_slide_figures(np.stack([first, second]))
    assert found["iou"] == {"background": pytest.approx(0.75), "tumour": pytest.approx(0.5), "others": 1.0}
    assert found["miou"] == pytest.approx((1.0 + 0.5) / 2)


def test_bootstrap_interval_holds_the_gain_and_is_zero_for_equal_models():
    base = RANDOM.integers(1, 500, (12, 3, 3)) + np.array([np.diag([400, 300, 200])] * 12)
    last = base + np.array([np.diag([600, 600, 600])] * 12)
    found = counts.bootstrap_gain(base, last, np.random.default_rng(1))
    assert 0 < found["low"] < found["gain"] < found["high"] and found["slides"] == 12
    assert found == counts.bootstrap_gain(base, last, np.random.default_rng(1))
    same = counts.bootstrap_gain(base, base, np.random.default_rng(1))
    assert (same["low"], same["gain"], same["high"]) == (0, 0, 0)


def test_a_low_map_is_cut_to_the_high_field():
    low = np.zeros((1, 3, 32, 32), np.float32)
    low[:, 1, 12:20, 12:20] = 1  # the centre quarter: the high field at ratio 4
    high = onto_high_grid(low, 4)
    assert high.shape == (1, 3, 32, 32) and (high[:, 1] == 1).all()
    low[:, 1, :, :16] = 0
    high = onto_high_grid(low, 4)
    assert (high[:, 1, :, :13] == 0).all() and (high[:, 1, :, 19:] == 1).all()


def test_pictures_take_classes_in_turn_and_slides_that_are_not_shown_yet():
    refs = [PairRef(0, i, f"s{i % 4}-y{i:07d}-x0000000", f"s{i % 4}", "val") for i in range(60)]
    matrices = {}
    for number, ref in enumerate(refs):
        matrices[ref.key] = np.zeros((3, 3), np.int64)
        matrices[ref.key][number % 3] = [number, number, number]
        matrices[ref.key][number % 3, number % 3] += 100
    matrices[refs[0].key][:] = 0  # nothing annotated: never shown
    chosen = pictures.choose(refs, matrices, 12, np.random.default_rng(0))
    assert [c.shown for c in chosen[:6:2]] == [c.shown for c in chosen[1:6:2]] == ["tumour", "others", "background"]
    assert [c.good for c in chosen] == [True, False] * 6
    assert all(good.iou > bad.iou for good, bad in zip(chosen[:6:2], chosen[1:6:2], strict=True))
    assert len({c.ref.key for c in chosen}) == 12 and len({c.ref.slide for c in chosen[:4]}) > 2
    assert refs[0].key not in {c.ref.key for c in chosen}
    assert chosen == pictures.choose(refs, matrices, 12, np.random.default_rng(0))
    assert len(pictures.choose(refs[:5], matrices, 12, np.random.default_rng(0))) == 4


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory):
    """A tiny run, evaluated: the first step always answers tumour, the last one knows the colours."""
    run = tiny_run(tmp_path_factory.mktemp("evaluate"))
    phase = run.path / "phases" / "09-evaluate"
    patch = pytest.MonkeyPatch()
    patch.setattr(evaluation, "load_teacher", lambda config, index, path: (AlwaysTumour(), KnowsColours())[index])
    evaluation.evaluate(run.config, run.path, phase)
    patch.undo()
    return run, phase, json.loads((phase / "evaluation.json").read_text())


class AlwaysTumour:
    def predict(self, high: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]:
        out = np.zeros((len(high), 3, *high.shape[1:3]), np.float32)
        out[:, 1] = 1
        return {"high": out}


def test_evaluation_of_known_teachers(evaluated):
    _, _, found = evaluated
    first, last = found["steps"]
    assert [step["step"] for step in found["steps"]] == ["base", "master-1"]
    assert set(found["splits"]) == {"val", "test", "dev-unseen"}
    for split, facts in found["splits"].items():
        tumour_first = first["splits"][split]["pooled"]
        assert tumour_first["iou"]["background"] == 0 and tumour_first["recall"]["tumour"] == 1
        assert tumour_first["iou"]["tumour"] == facts["pixels"]["tumour"] / sum(facts["pixels"].values())
        assert last["splits"][split]["pooled"]["miou"] > 0.97  # JPEG blurs the edges
        assert np.sum(last["splits"][split]["pooled"]["confusion"]) == sum(facts["pixels"].values())
        assert found["gain"][split]["gain"] == pytest.approx(
            last["splits"][split]["pooled"]["miou"] - tumour_first["miou"]
        )
        assert found["curves"][split]["tumour"]["auc"] > 0.98


def test_evaluation_marks_what_training_never_saw(evaluated):
    _, _, found = evaluated
    stains = {row["value"]: row["unseen"] for row in found["steps"][-1]["groups"]["stain"]}
    assert stains == {"ER": False, "H&E": True}
    scanners = {row["value"]: row["unseen"] for row in found["steps"][-1]["groups"]["scanner"]}
    assert scanners == {"Philips": False, "Motic": True}
    unseen = [slide["unseen"] for slide in found["slides"].values() if slide["split"] == "dev-unseen"]
    assert unseen == [["stain", "source", "scanner"]]


def test_evaluation_baseline_answers_the_majority_class_of_train(evaluated):
    run, _, found = evaluated
    corpus = Corpus(run.path / "data" / "shards", run.config.training_classes)
    truth = np.concatenate([stored_views(corpus, ref).high_label.ravel() for ref in corpus.refs("train")])
    expected = CLASSES[int(np.bincount(truth[truth != IGNORED]).argmax())]
    assert found["majority"] == expected
    for facts in found["splits"].values():
        recalls = {name: value for name, value in facts["majority"]["recall"].items() if facts["pixels"][name]}
        assert recalls == {name: float(name == expected) for name in recalls}


def test_evaluation_gives_bad_regions_their_own_recall(evaluated):
    _, _, found = evaluated
    bad = found["steps"][-1]["splits"]["test"]["bad_regions"]
    assert set(bad["each"]) == {"fold"} and bad["pixels"] > 0 and bad["recall"] > 0.95
    assert found["steps"][0]["splits"]["test"]["bad_regions"]["recall"] == 0


def test_evaluation_draws_the_examples_that_it_lists(evaluated):
    _, phase, found = evaluated
    listed = [entry["file"] for entry in found["pictures"]]
    assert listed and sorted(listed) == sorted(path.name for path in (phase / "pictures").iterdir())
    with Image.open(phase / "pictures" / listed[0]) as image:
        assert image.size == (5 * pictures.TILE_PX + 4 * pictures.GAP_PX, pictures.HEADER_PX + pictures.TILE_PX)


def test_evaluating_twice_gives_the_same_bytes(evaluated, tmp_path, monkeypatch):
    run, phase, _ = evaluated
    monkeypatch.setattr(evaluation, "load_teacher", lambda config, index, path: (AlwaysTumour(), KnowsColours())[index])
    evaluation.evaluate(run.config, run.path, tmp_path)
    assert (tmp_path / "evaluation.json").read_bytes() == (phase / "evaluation.json").read_bytes()
    for picture in (tmp_path / "pictures").iterdir():
        assert picture.read_bytes() == (phase / "pictures" / picture.name).read_bytes()


def test_majority_class_passes_over_what_is_ignored(evaluated):
    run, _, found = evaluated
    classes = run.config.training_classes
    ignored = {name: IGNORED if CLASSES[to] == found["majority"] else to for name, to in classes.items()}
    assert CLASSES[summary.majority_class(run.manifest, ignored)] != found["majority"]


def test_progress_is_left_for_whoever_watches(evaluated):
    _, phase, found = evaluated
    tally = json.loads((phase / "progress" / "0.json").read_text())
    pairs = sum(facts["pairs"] for facts in found["splits"].values())
    assert (tally["done"], tally["total"], tally["unit"]) == (pairs, pairs, "pairs")


def test_the_path_of_the_run_is_nowhere_in_the_results(evaluated):
    run, phase, _ = evaluated
    assert str(Path(run.path)) not in (phase / "evaluation.json").read_text()
