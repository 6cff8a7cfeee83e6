"""What was saved comes back, and a save does not hold training up."""

import json

import numpy as np
import pytest
import torch

from mlseg_core.files import sha256_file
from mlseg_dist.training.checkpoint import Damaged, Saver, damage, load, newest
from tests.mlseg_dist.training.checkpoint.saves import MB, names, state_of, steps_in, told


def test_what_was_saved_comes_back_bit_by_bit_and_laid_out_alike(folder, events):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8)).to(memory_format=torch.channels_last)
    adam = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    model(torch.randn(2, 3, 8, 8)).square().mean().backward()
    adam.step()
    state = {"model": model.state_dict(), "optimizer": adam.state_dict()}
    cursor = {"step": 7, "best": {"miou": 0.1 + 0.2}, "excluded": [3, 9]}
    saver = Saver(folder, 2, None, events.log)
    saver.save(7, state, cursor)
    saver.wait()
    path = newest(folder, events.log)
    assert path == folder / "step-00000007" and (folder / "LATEST").read_text() == path.name
    assert names(path) == ["META.json", "cursor.json", "model.pt", "optimizer.pt"]
    loaded, read = load(path)
    assert read == cursor and list(loaded) == ["model", "optimizer"]
    assert loaded["model"]._metadata == state["model"]._metadata
    for name, tensor in state["model"].items():
        assert torch.equal(loaded["model"][name], tensor) and loaded["model"][name].stride() == tensor.stride(), name
    other = torch.optim.Adam(model.parameters(), lr=1.0)
    other.load_state_dict(loaded["optimizer"])
    assert other.state_dict()["param_groups"] == state["optimizer"]["param_groups"]
    assert list(load(path, ["model"])[0]) == ["model"]
    with pytest.raises(Damaged, match=r"has no ema\.pt"):
        load(path, ["ema"])


def test_files_are_what_torch_save_writes_whether_waited_for_or_not(folder, events, tmp_path):
    torch.manual_seed(1)
    state = {"model": {"a": torch.randn(300, 500).t(), "b": torch.arange(5), "c": torch.tensor(2.0)}}
    saver = Saver(folder, 9, None, events.log)
    for step in (1, 2, 3):  # 2 and 3 go into memory that is used again; 1 and 3 are waited for
        saver.save(step, state, {})
        if step != 2:
            saver.wait()
    with open(tmp_path / "expected", "wb") as file:
        torch.save(state["model"], file)
    hashes = {sha256_file(folder / f"step-0000000{step}" / "model.pt") for step in (1, 2, 3)}
    assert hashes == {sha256_file(tmp_path / "expected")}
    meta = json.loads((folder / "step-00000003" / "META.json").read_text())
    assert meta["files"]["model.pt"] == {"bytes": (tmp_path / "expected").stat().st_size, "sha256": hashes.pop()}


def test_a_save_returns_long_before_it_is_on_disk_and_what_comes_after_does_not_change_it(folder, events):
    weights, cursor = torch.zeros(96 * MB), {"step": 1, "excluded": [1]}
    saver = Saver(folder, 9, None, events.log)
    saver.save(1, {"model": {"w": weights}}, cursor)
    weights.fill_(9)
    cursor["excluded"].append(2)
    assert steps_in(folder) == [] and damage(folder / "step-00000001") == "META.json is missing"
    saver.save(2, {"model": {"w": weights}}, cursor)
    waited, copied = saver.seconds["wait"], saver.seconds["copy"]
    assert steps_in(folder) == [1], "never two at a time"
    saver.wait()
    assert waited > copied > 0 and saver.seconds["write"] > 2 * copied, saver.seconds
    assert steps_in(folder) == [1, 2] and saver.bytes > 4 * 96 * MB
    (state, read), (later, _) = load(folder / "step-00000001"), load(folder / "step-00000002")
    assert not state["model"]["w"].any() and read["excluded"] == [1]
    assert (later["model"]["w"] == 9).all()


def test_a_disk_that_training_waits_for_is_told(folder, events):
    saver = Saver(folder, 9, None, events.log)
    saver.slow_s = 0.01
    for step in (1, 2):
        saver.save(step, {"model": {"w": torch.zeros(32 * MB)}}, {})
    saver.slow_s = 30
    saver.wait()
    (line,) = told(events, "checkpoint-slow")
    assert line["level"] == "warning" and steps_in(folder) == [1, 2]


def test_shapes_may_change_between_saves(folder, events):
    saver = Saver(folder, 9, None, events.log)
    states = [
        {"model": {"a": torch.ones(3), "b": torch.ones(2, 5)}},
        {"model": {"b": torch.full((5, 2), 2.0).t()}},
        {"model": {1: torch.ones(2), "1": torch.zeros(2), "c": torch.ones(4).to(torch.bfloat16)}},
    ]
    for step, state in enumerate(states):
        saver.save(step, state, {})
    saver.wait()
    for step, state in enumerate(states):
        loaded = load(folder / f"step-0000000{step}")[0]
        assert all(torch.equal(loaded["model"][name], x) for name, x in state["model"].items())
        assert [x.stride() for x in loaded["model"].values()] == [x.stride() for x in state["model"].values()]


@pytest.mark.parametrize(
    ("state", "error", "word"),
    [
        ({"model": {"x": np.float64(1)}}, TypeError, r"model\.x: .*numpy\.float64"),
        ({"model": {"x": [torch.eye(3).to_sparse()]}}, TypeError, r"model\.x\[0\]: .*sparse"),
        ({"model": {"x": torch.empty(1, device="meta")}}, TypeError, "meta"),
        ({"model": {(1, 2): 3}}, TypeError, "dict"),
        ({"../model": {}}, ValueError, "names"),
        ({}, ValueError, "names"),
    ],
)
def test_what_could_not_be_read_again_is_refused_at_the_first_save(folder, events, state, error, word):
    saver = Saver(folder, 2, None, events.log)
    with pytest.raises(error, match=word):
        saver.save(1, state, {})
    saver.save(2, state_of(2), {})
    saver.wait()
    assert steps_in(folder) == [2]


def test_kept_are_the_newest_the_best_and_every_nth(folder, events):
    saver = Saver(folder, 2, 4, events.log)
    seen = []
    for step in range(11):
        saver.save(step, state_of(step), {"step": step}, best=None if step < 1 else 1 if step < 6 else 6)
        saver.wait()
        seen.append(steps_in(folder))
    assert seen[:4] == [[0], [0, 1], [1, 2], [1, 2, 3]]
    assert seen[7:] == [[4, 6, 7], [4, 6, 7, 8], [4, 6, 8, 9], [4, 6, 8, 9, 10]]
    assert names(folder)[0] == "LATEST", "nothing half removed"


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_from_a_gpu_the_copy_is_of_the_moment_of_the_save(folder, events):
    weights = torch.zeros(64 * MB, device="cuda")
    saver = Saver(folder, 9, None, events.log)
    for step in range(5):
        weights.fill_(step)
        saver.save(step, {"model": {"w": weights}}, {})
        weights.fill_(-1)
    saver.wait()
    for step in range(5):
        assert (load(folder / f"step-0000000{step}")[0]["model"]["w"] == step).all()
