"""Counting against torchmetrics and scikit-learn; the whole evaluation against a teacher whose answers are known."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix
from torchmetrics.classification import MulticlassConfusionMatrix

import mlseg_dist.evaluation as evaluation
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.views import stored_views
from mlseg_dist.evaluation import counts, pictures, summary
from mlseg_dist.evaluation.scoring import onto_high_grid
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


def test_decision_takes_the_strongest_class_at_or_above_the_threshold_else_background():
    probabilities = np.array([[0.1, 0.45, 0.45], [0.2, 0.5, 0.3], [0.28, 0.28, 0.44], [0.3, 0.25, 0.45]], np.float32)
    decided = counts.decide(probabilities[:, :, None, None], np.float32(0.45))
    assert decided.ravel().tolist() == [1, 1, 0, 2]


def test_fine_counts_leave_out_what_is_ignored_in_training():
    fine = np.array([[[3, 3, 12, 16]]], np.uint8)
    truth, predicted = np.array([[[1, 1, 2, IGNORED]]], np.uint8), np.array([[[1, 0, 2, 2]]], np.uint8)
    found = counts.fine_counts(fine, truth, predicted)
    assert found[3].tolist() == [1, 1, 0] and found[12].tolist() == [0, 0, 1] and found.sum() == 3


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
