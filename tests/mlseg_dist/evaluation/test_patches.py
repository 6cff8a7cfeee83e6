"""Counts of patches against torchmetrics and scikit-learn; which patches become example pictures."""

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import confusion_matrix
from torchmetrics.classification import MulticlassConfusionMatrix

from benchmarks.study.patches import fine_counts
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import PairRef
from mlseg_dist.evaluation import patches, pictures
from mlseg_dist.evaluation.drawn import is_drawn, png

RANDOM = np.random.default_rng(5)


def labels(shape: tuple[int, ...], classes: tuple[int, ...] = (0, 1, 2, IGNORED)) -> np.ndarray:
    return RANDOM.choice(np.array(classes, np.uint8), shape)


@pytest.mark.parametrize("classes", [(0, 1, 2, 255), (0, 2, 255), (1, 255), (0, 1, 2)])
def test_confusion_is_that_of_torchmetrics(classes):
    truth, predicted = labels((4, 32, 32), classes), labels((4, 32, 32), (0, 1, 2))
    metric = MulticlassConfusionMatrix(3, ignore_index=IGNORED)
    expected = metric(torch.from_numpy(predicted).long(), torch.from_numpy(truth).long()).numpy()
    each = patches.confusions(truth, predicted)
    assert each.shape == (4, 3, 3)
    np.testing.assert_array_equal(each.sum(axis=0), expected)
    known = truth[2] != IGNORED
    np.testing.assert_array_equal(each[2], confusion_matrix(truth[2][known], predicted[2][known], labels=[0, 1, 2]))


def test_decision_takes_the_strongest_class_at_or_above_the_threshold_else_background():
    probabilities = np.array([[0.1, 0.45, 0.45], [0.2, 0.5, 0.3], [0.28, 0.28, 0.44], [0.3, 0.25, 0.45]], np.float32)
    decided = patches.decide(probabilities[:, :, None, None], np.float32(0.45))
    assert decided.ravel().tolist() == [1, 1, 0, 2]


def test_no_number_is_not_background():
    probabilities = np.full((1, 3, 2, 2), 1 / 3, np.float32)
    probabilities[0, 1, 0, 0] = np.nan
    decided = patches.decide(probabilities, 0.3)
    assert decided[0, 0, 0] == IGNORED and not decided.ravel()[1:].any()
    assert patches.confusions(np.zeros((1, 2, 2), np.uint8), decided).sum() == 3


def test_fine_counts_leave_out_what_is_ignored_in_training():
    fine = np.array([[[3, 3, 12, 16]]], np.uint8)
    truth, predicted = np.array([[[1, 1, 2, IGNORED]]], np.uint8), np.array([[[1, 0, 2, 2]]], np.uint8)
    found = fine_counts(fine, truth, predicted)
    assert found[3].tolist() == [1, 1, 0] and found[12].tolist() == [0, 0, 1] and found.sum() == 3


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


def test_a_picture_says_that_we_drew_it(tmp_path):
    (tmp_path / "ours.png").write_bytes(png(Image.new("RGB", (3, 3))))
    Image.new("RGB", (3, 3)).save(tmp_path / "theirs.png")
    (tmp_path / "text.png").write_text("mine")
    assert [is_drawn(tmp_path / f"{name}.png") for name in ("ours", "theirs", "text", "missing")] == [True] + [
        False
    ] * 3
