"""The best checkpoint is the teacher: who decides, and what is published."""

import json
import math

import pytest
import torch

from mlseg_core.files import sha256_file
from mlseg_dist.events import Events
from mlseg_dist.training.checkpoint import Damaged, Saver
from mlseg_dist.training.state.teacher import BestTeacher


def scores(miou):
    """What is offered of a validation."""
    return {"miou": miou, "iou": {"tumour": miou}, "accuracy": 1.0}, {"threshold": miou}


def test_the_best_wins_a_tie_keeps_the_earlier_and_nan_loses(tmp_path):
    best = BestTeacher(tmp_path)
    assert best.step is None and best.damage() == ""
    offers = [(1, math.nan), (2, 0.3), (3, 0.3), (4, math.nan), (5, 0.5), (6, 0.4)]
    assert [best.offer(step, *scores(miou)) for step, miou in offers] == [True, True, False, False, True, False]
    assert best.record == {
        "step": 5,
        "miou": 0.5,
        "iou": {"tumour": 0.5},
        "operating_point": {"threshold": 0.5},
        "weights": "checkpoints/step-00000005/model.pt",
    }
    resumed = BestTeacher(tmp_path)
    resumed.load(json.loads(json.dumps(best.record)))
    assert resumed.step == 5 and not resumed.offer(7, *scores(0.5)) and resumed.offer(8, *scores(0.51))


def test_a_best_of_earlier_code_counted_pixels_otherwise_and_loses_to_any(tmp_path):
    best = BestTeacher(tmp_path)
    best.load({"step": 5, "miou": 0.9, "iou": {}, "weights": "checkpoints/step-00000005/model.pt"})
    assert best.step == 5 and best.offer(6, *scores(0.8)) and not best.offer(7, *scores(0.8))


@pytest.mark.parametrize("weights", ["model", "ema"])
def test_published_are_the_saved_weights_and_their_hash(tmp_path, weights):
    best = BestTeacher(tmp_path, weights)
    with pytest.raises(RuntimeError, match="no validation"):
        best.publish()
    saver = Saver(tmp_path / "checkpoints", 2, None, Events(tmp_path).log)
    for step, miou in enumerate((0.1, 0.6, 0.5, 0.4)):
        best.offer(step, *scores(miou))
        state = {"model": {"w": torch.full((4,), 1.0 * step)}, "ema": {"w": torch.full((4,), 0.5 * step)}}
        saver.save(step, state, {"best": best.record}, best=best.step)
    saver.wait()
    best.publish()
    record = json.loads((tmp_path / "teacher.json").read_text())
    path = tmp_path / record["weights"]
    assert record["operating_point"] == {"threshold": 0.6}
    assert record["step"] == 1 and record["miou"] == 0.6 and sha256_file(path) == record["sha256"]
    teacher = torch.load(path, weights_only=True)
    assert torch.equal(teacher["w"], torch.full((4,), {"model": 1.0, "ema": 0.5}[weights]))


def test_weights_that_are_gone_or_changed_are_not_published(tmp_path):
    best = BestTeacher(tmp_path)
    saver = Saver(tmp_path / "checkpoints", 2, None, Events(tmp_path).log)
    best.offer(1, *scores(0.1))
    saver.save(1, {"model": {"w": torch.ones(4)}}, {}, best=best.step)
    saver.wait()
    assert best.damage() == ""
    weights = tmp_path / "checkpoints" / "step-00000001" / "model.pt"
    data = bytearray(weights.read_bytes())
    data[200] ^= 4
    weights.write_bytes(data)
    for word in ("sha256 mismatch", "is missing"):
        assert word in best.damage()
        with pytest.raises(Damaged, match=word):
            best.publish()
        weights.unlink(missing_ok=True)
    assert not (tmp_path / "teacher.json").exists()
