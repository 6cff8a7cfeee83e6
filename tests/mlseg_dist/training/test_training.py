"""Training on real gloo ranks: stopped, killed and resumed it ends bitwise as if nothing had happened."""

import json
import re
import shutil

import numpy as np
import pytest
import torch

from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.config import CLASSES, LearningConfig, LossConfig
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.events import Events, read_events
from mlseg_dist.run_folder import labels_folder, phase_folder, shards_folder, teacher_record
from mlseg_dist.training import checkpoint
from mlseg_dist.training.inputs import open_corpus
from mlseg_dist.training.log import cut_back
from mlseg_dist.training.session import Session, end_process
from tests.mlseg_dist import prepared_run
from tests.mlseg_dist.prepared_run import ONE_QUAD, prepare, same, with_train
from tests.mlseg_dist.ranks import INTERRUPTED, run_ranks
from tests.mlseg_dist.training.test_validate import damage as damage_validation
from tests.shards.tars import index_of

TRAIN = {
    **ONE_QUAD,
    "micro_batches_per_step": 4,
    "epoch_draws": 160,
    "warmup_steps": 2,
    "checkpoint_every": 4,
    "validations": 2,
}
PHASE = "03-master-1"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """master-1 trains 10 steps on human and predicted labels."""
    made = prepare(tmp_path_factory.mktemp("training"), TRAIN)
    return made.run, made.config


def copy_of(prepared, folder):
    run = folder / "run"
    shutil.copytree(prepared[0], run)
    return run, prepared[1]


@pytest.fixture(scope="module")
def uninterrupted(prepared, tmp_path_factory):
    run, config = copy_of(prepared, tmp_path_factory.mktemp("whole"))
    assert run_ranks(run, config, 1) == [0, 0]
    return run


def figures(run):
    return prepared_run.figures(run / "phases" / PHASE)


def final_state(run):
    phase = run / "phases" / PHASE
    path = checkpoint.newest(phase / "checkpoints", Events(phase).log)
    assert path is not None
    return checkpoint.load(path)


def assert_bitwise_equal(run, other):
    (state, cursor), (expected, expected_cursor) = final_state(run), final_state(other)
    assert {**cursor, "made_of": None} == {**expected_cursor, "made_of": None} and cursor["step"] == 10
    same(state, expected, "state")
    assert teacher_record(run, "master-1") == teacher_record(other, "master-1")


def test_learns_and_publishes_a_teacher(uninterrupted):
    lines = figures(uninterrupted)
    assert [line["step"] for line in lines if line["kind"] == "val"] == [5, 10]
    record = teacher_record(uninterrupted, "master-1")
    weights = phase_folder(uninterrupted, "master-1") / record["weights"]
    assert sha256_file(weights) == record["sha256"]
    validations = [line for line in lines if line["kind"] == "val"]
    assert record["miou"] == max(line["miou"] for line in validations)
    assert all({"miou", "iou", "accuracy", "wce", "wdl"} <= line.keys() for line in validations)
    point = record["operating_point"]
    assert point["from"] == "validation" and point["patients"] == 1
    assert 0 <= point["threshold"] <= 1 and 0.1 <= point["temperature"] <= 10
    train = [line for line in lines if line["kind"] == "train"]
    assert train[-1]["loss"] < train[0]["loss"]


@pytest.mark.parametrize(
    "kill_at",
    [
        pytest.param(
            3,
            marks=pytest.mark.long(
                short="tests/mlseg_dist/training/test_training.py::test_killed_and_resumed_ends_bitwise_the_same"
            ),
        ),
        7,
    ],
)
def test_killed_and_resumed_ends_bitwise_the_same(prepared, uninterrupted, tmp_path, kill_at):
    run, config = copy_of(prepared, tmp_path)
    codes = run_ranks(run, config, 1, kill_at=kill_at)
    assert codes[0] == -9
    assert run_ranks(run, config, 1) == [0, 0]
    assert_bitwise_equal(run, uninterrupted)
    assert [f["step"] for f in figures(run)] == sorted(f["step"] for f in figures(run)), "no line twice"
    assert [f["kind"] for f in figures(run)].count("order") == 1


def test_stopped_by_one_rank_all_save_and_lose_nothing(prepared, uninterrupted, tmp_path):
    run, config = copy_of(prepared, tmp_path)
    assert run_ranks(run, config, 1, stop_at=3) == [INTERRUPTED, INTERRUPTED]
    assert final_state(run)[1]["step"] == 3
    assert not (run / "phases" / PHASE / "teacher.json").exists()
    assert run_ranks(run, config, 1) == [0, 0]
    assert_bitwise_equal(run, uninterrupted)


def test_through_ddp_too_and_both_engines_learn_the_same(prepared, uninterrupted, tmp_path):
    run, config = copy_of(prepared, tmp_path / "whole")
    config = config.model_copy(update={"train": config.train.model_copy(update={"engine": "ddp"})})
    assert run_ranks(run, config, 1) == [0, 0]
    killed, _ = copy_of(prepared, tmp_path / "killed")
    assert run_ranks(killed, config, 1, kill_at=7)[0] == -9
    assert run_ranks(killed, config, 1) == [0, 0]
    assert_bitwise_equal(killed, run)
    losses, expected_losses = ([line["wce"] for line in figures(r) if "wce" in line] for r in (run, uninterrupted))
    assert losses == pytest.approx(expected_losses, rel=1e-5)
    # Not parameter by parameter: a bias that the next norm takes away again has rounding for a gradient, which Adam blows up.


def test_one_more_checkpoint_changes_nothing(prepared, uninterrupted, tmp_path):
    run, config = copy_of(prepared, tmp_path)
    assert run_ranks(run, with_train(config, checkpoint_every=1, keep_checkpoints=3, keep_every=4), 1) == [0, 0]
    assert_bitwise_equal(run, uninterrupted)
    kept = sorted(path.name for path in (run / "phases" / PHASE / "checkpoints").glob("step-*"))
    best = teacher_record(run, "master-1")["step"]
    assert kept == [f"step-{step:08d}" for step in sorted({4, 8, 9, 10, best})]


def test_a_few_steps_that_are_not_finite_are_skipped_and_told(prepared, tmp_path):
    """Micro-batches 9 and 14 are of steps 2 and 3, each on one rank; both ranks skip. So are the answers of a validation."""
    run, config = copy_of(prepared, tmp_path)
    assert run_ranks(run, with_train(config, max_skipped=3), 1, poison=(9, 14), blind=True) == [0, 0]
    events = read_events(run / "phases" / PHASE)
    told = [event for event in events if event["event"] == "non-finite"]
    assert [event["steps"] for event in told] == [[2], [3]]
    (blind,) = (event for event in events if event["event"] == "validation-not-finite")
    assert blind["step"] == 5 and blind["share"] == 1 and "cannot become the teacher" in blind["text"]
    first, second = (line for line in figures(run) if line["kind"] == "val")
    assert first["not_finite"] == blind["pixels"] > 0 and first["wce"] is None and "not_finite" not in second
    assert teacher_record(run, "master-1")["step"] == 10, "the only validation that could be scored"
    lines = {line["step"]: line for line in figures(run) if line["kind"] == "train"}
    assert lines[10]["skipped"] == 2 and lines[2]["skipped"] == 0
    assert lines[3]["loss"] is not None, "the loss of the other micro-batches of that step"


def test_too_many_in_a_row_go_back_and_leave_the_draws_out_killed_or_not(prepared, tmp_path):
    """Steps 5, 6 and 7 are poisoned: back to the checkpoint of step 5 (it was validated), on with what follows their draws."""
    poison = (21, 24, 30)
    whole, config = copy_of(prepared, tmp_path / "whole")
    config = with_train(config, max_skipped=3, ema=0.9)
    assert run_ranks(whole, config, 1, poison=poison) == [0, 0]
    back = [event for event in read_events(whole / "phases" / PHASE) if event["event"] == "rolled-back"]
    assert [(event["step"], event["left_out"]) for event in back] == [(5, [5, 6, 7])]
    _, cursor = final_state(whole)
    assert cursor["skips"] == {"in_a_row": [], "left_out": [5, 6, 7], "total": 3, "rollbacks": 1}
    steps = [line["step"] for line in figures(whole) if line["kind"] == "train"]
    assert steps == list(range(1, 11)), "lines of the steps that were given up are gone"
    for kill_at in (7, 9):  # before, and after it went back
        killed, _ = copy_of(prepared, tmp_path / f"killed-{kill_at}")
        assert run_ranks(killed, config, 1, kill_at=kill_at, poison=poison)[0] == -9
        assert run_ranks(killed, config, 1, poison=poison) == [0, 0]
        assert_bitwise_equal(killed, whole)


def test_training_that_diverges_stops_with_a_clear_word(prepared, tmp_path):
    run, config = copy_of(prepared, tmp_path)
    config = with_train(config, max_skipped=2)
    with pytest.raises(
        AssertionError, match="steps 4-5 in a row were not finite, after going back 1 times: training diverges"
    ):
        run_ranks(run, config, 1, poison=tuple(range(12, 80)))
    assert not (run / "phases" / PHASE / "teacher.json").exists()


def test_one_rank_sees_the_same_and_learns_the_same_to_rounding(prepared, uninterrupted, tmp_path):
    run, config = copy_of(prepared, tmp_path)
    assert run_ranks(run, config, 1, world=1) == [0]
    mine, theirs = figures(run), figures(uninterrupted)
    first, other = (next(f for f in lines if f["kind"] == "val") for lines in (mine, theirs))
    assert first["step"] == other["step"] == 5
    assert first["wce"] == pytest.approx(other["wce"], rel=2e-3)
    (state, _), (expected, _) = final_state(run), final_state(uninterrupted)
    for name, tensor in expected["model"].items():
        torch.testing.assert_close(state["model"][name].float(), tensor.float(), rtol=0.05, atol=0.02, msg=name)


def test_a_loss_over_the_step_goes_on_with_another_number_of_ranks(prepared, uninterrupted, tmp_path):
    """16 samples a step: 8 on each of two ranks, after the stop 16 on one. The same draws as with a loss a micro-batch."""
    run, config = copy_of(prepared, tmp_path)
    config = config.model_copy(update={"loss": LossConfig(group="step")})
    assert run_ranks(run, config, 1, stop_at=3) == [INTERRUPTED, INTERRUPTED]
    assert run_ranks(run, config, 1, world=1) == [0]
    lines, expected = figures(run), figures(uninterrupted)
    assert [(line["kind"], line["step"]) for line in lines] == [(line["kind"], line["step"]) for line in expected]
    assert lines[0] == expected[0], "lanes and passes"
    train = [line for line in lines if line["kind"] == "train"]
    assert train[-1]["loss"] < train[0]["loss"] and train[-1]["skipped"] == 0


def test_ranks_that_cannot_share_a_step_are_refused_by_the_job_too(prepared, monkeypatch):
    """Before they join: the config may have been made for a cluster that gave other ranks than it was asked for."""
    run, config = prepared
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UserError, match="3 ranks cannot share 4 micro-batches evenly"):
        Session(config, 1, run, phase_folder(run, "master-1"), end_process)
    config = config.model_copy(update={"loss": LossConfig(group="step")})
    with pytest.raises(UserError, match="3 ranks cannot share 16 samples evenly: they are 4 quads"):
        Session(config, 1, run, phase_folder(run, "master-1"), end_process)


def test_how_often_classes_repeat_is_the_first_line(uninterrupted):
    first = figures(uninterrupted)[0]
    corpus = open_corpus(prepared_config(uninterrupted), 1, uninterrupted)
    sizes = dict(zip(CLASSES, corpus.pools().sizes, strict=True))
    draws = {"background": 40, "tumour": 80, "others": 40}
    assert first["kind"] == "order" and first["pairs"] == sizes
    assert first["passes"] == pytest.approx({c: draws[c] / sizes[c] for c in CLASSES})


def damage(run):
    """Flip a byte in a pair and in another pair's sidecar; returns their numbers in the corpus."""
    corpus = Corpus(shards_folder(run), prepared_config(run).training_classes, labels_folder(run, 1))
    numbers = np.flatnonzero(corpus.drawing_classes == 0)[[1, 4]]
    for number, folder in zip(numbers, (corpus.folder, labels_folder(run, 1)), strict=True):
        shard = corpus.manifest.shards[corpus.ref(int(number)).shard]
        row = corpus.ref(int(number)).row
        sidecar = next(entry for entry in corpus.round.shards if entry.of == shard.name)
        path = folder / (shard.name if folder == corpus.folder else sidecar.name)
        place = index_of(path)[row]
        data = bytearray(path.read_bytes())
        data[int(place["offset"][0]) + int(place["size"][0]) // 2] ^= 1
        path.write_bytes(data)
    return numbers.tolist(), [corpus.ref(int(number)).key for number in numbers]


def prepared_config(run):
    return validate(json.loads((run / "config.json").read_text()), LearningConfig, "test")


def test_a_damaged_pair_stops_training_and_is_named(prepared, uninterrupted, tmp_path):
    run, config = copy_of((uninterrupted, prepared[1]), tmp_path)
    shutil.rmtree(run / "phases" / PHASE)
    (run / "phases" / PHASE).mkdir()
    _, keys = damage(run)
    with pytest.raises(AssertionError, match=rf"BadPair: .*\.tar: ({'|'.join(map(re.escape, keys))})\..* is damaged"):
        run_ranks(run, config, 1, world=1)


def test_damaged_pairs_are_excluded_alike_after_a_kill_and_counted(prepared, uninterrupted, tmp_path):
    """Killed at step 6, after the first validation, and resumed; its cursor remembers what the first start found."""
    whole, config = copy_of((uninterrupted, prepared[1]), tmp_path / "whole")
    shutil.rmtree(whole / "phases" / PHASE)
    (whole / "phases" / PHASE).mkdir()
    numbers, keys = damage(whole)
    unscored, _ = damage_validation(whole, config, (2,))
    killed, _ = copy_of((whole, config), tmp_path / "killed")
    config = with_train(config, bad_samples="exclude", max_excluded=0.5)
    assert run_ranks(whole, config, 1) == [0, 0]
    cursor = final_state(whole)[1]
    assert (cursor["excluded"], cursor["validation_excluded"]) == (numbers, unscored)
    lines = [line for line in figures(whole) if line["kind"] == "excluded"]
    assert [(line["step"], line["pair"]) for line in lines if line.get("split") == "val"] == [(5, unscored[0])]
    told = [line for line in lines if "split" not in line]
    assert sorted(line["pair"] for line in told) == numbers
    assert {key for key in keys if any(key in line["why"] for line in told)} == set(keys)
    assert run_ranks(killed, config, 1, kill_at=6)[0] == -9
    assert run_ranks(killed, config, 1) == [0, 0]
    assert_bitwise_equal(killed, whole)
    assert [line["pair"] for line in figures(killed) if line.get("split") == "val"] == unscored, "told once"
    with pytest.raises(AssertionError, match=r"more than train\.max_excluded \(0\.001\)"):
        shutil.rmtree(killed / "phases" / PHASE / "checkpoints")
        run_ranks(killed, with_train(config, max_excluded=0.001), 1)


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    cut_back(path, 2)
    assert path.read_text() == '{"step": 1}\n{"step": 2}\n'
