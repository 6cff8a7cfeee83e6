"""Reading, inference and writing overlap, and nothing shows of it in the bytes."""

import random
import re
import threading
import time

import numpy as np
import pytest
import torch

from mlseg_core.exactly_once.run import run_units
from mlseg_dist import inference, labelling
from mlseg_dist.data import labels
from mlseg_dist.data.labels import Accepting
from mlseg_dist.inference import Predictor, load_teacher
from mlseg_dist.labelling.loading import InThreads
from mlseg_dist.labelling.pipeline import batches_of, overlapped
from mlseg_dist.run_folder import shards_folder
from shards.outside import Outside
from shards.sample import decode_label, decode_rgb
from shards.tar import BadShard, ShardReader
from tests.mlseg_dist.labelling.rounds import lively_run, make, with_label
from tests.mlseg_dist.tiny_run import TinyRun
from tests.shards.tars import index_of


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    return lively_run(tmp_path_factory.mktemp("pipeline"))


def open_shard(run: TinyRun) -> ShardReader:
    entry = run.manifest.of_splits("train")[0]
    return ShardReader(shards_folder(run.path) / entry.name, run.manifest.members)


def test_batches_cover_a_shard_and_end_with_it():
    assert batches_of(7, 3) == [range(0, 3), range(3, 6), range(6, 7)]
    assert batches_of(6, 3) == [range(0, 3), range(3, 6)]


def test_the_same_bytes_with_any_number_of_reading_threads(run, tmp_path):
    before = torch.get_num_threads()
    try:
        found = [make(run, with_label(run.config, workers=n), tmp_path / str(n)) for n in (1, 4)]
        inference._kept.clear()
        torch.set_num_threads(2)  # what the machine would choose must not matter
        config = with_label(run.config, workers=3)
        config = config.model_copy(update={"train": config.train.model_copy(update={"threads": 0})})
        found.append(make(run, config, tmp_path / "machine"))
    finally:
        torch.set_num_threads(before)
        inference._kept.clear()
    assert found[0] == found[1] == found[2] and found[0]


def test_the_bytes_are_those_of_one_thing_after_another(run, tmp_path):
    config = with_label(run.config, step=1)
    make(run, config, tmp_path, step=1)
    teacher = load_teacher(config, 1, run.path)
    (sidecar,) = tmp_path.glob("*.tar")
    outside = Outside(run.manifest)
    with open_shard(run) as shard, ShardReader(sidecar, labelling.MEMBERS) as made:
        for rows in batches_of(len(shard), 5):
            views = [np.stack([decode_rgb(shard.read(r)[f"{v}.jpg"]) for r in rows]) for v in ("high", "low")]
            answers = teacher.probabilities(*(torch.from_numpy(view) for view in views))
            merged, low = (labels.encode_batch(answers[head], 2).numpy() for head in ("merged", "low"))
            for position, row in enumerate(rows):
                off = outside.of_row(shard, row, 2)
                high_codes, low_codes = (
                    np.where(off[view], 255, codes[position]) if view in off else codes[position]
                    for view, codes in (("high", merged), ("low", low))
                )
                members = made.read(row)
                assert np.array_equal(decode_label(members["high.png"]), high_codes)
                expected = labels.low_from_high(high_codes, low_codes, 4, Accepting.from_threshold(0.5).table("high"))
                assert np.array_equal(decode_label(members["low.png"]), expected)


def test_codes_of_a_batch_are_those_of_cells_averaged_one_by_one():
    p = torch.rand((2, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(1)
    together = labels.encode_batch(p, 4).numpy()
    for one, codes in zip(p.numpy(), together, strict=True):
        cells = one.reshape(3, 4, 4, 4, 4).mean(axis=(2, 4))
        level = np.floor(cells.max(0) * 20 + 1e-6)
        assert np.array_equal(codes, cells.argmax(0) * 21 + level)


def test_order_is_kept_and_little_is_under_way(run):
    rng, lock, running = random.Random(3), threading.Lock(), {"now": 0, "most": 0}
    teacher = load_teacher(run.config, 0, run.path)

    def finish(row: int, codes: dict[str, np.ndarray]) -> int:
        with lock:
            running["now"] += 1
            running["most"] = max(running.values())
        time.sleep(rng.random() * 0.02)
        with lock:
            running["now"] -= 1
        return row

    with open_shard(run) as shard:
        found = [row for part in overlapped(shard, InThreads(64, False), teacher, 5, 2, 4, finish) for row in part]
        assert found == list(range(len(shard))) and running["most"] > 1


@pytest.mark.parametrize("where", ["reading", "finishing"])
def test_an_error_in_a_thread_comes_out_and_no_thread_stays(run, where):
    teacher = load_teacher(run.config, 0, run.path)

    def finish(row: int, codes: dict[str, np.ndarray]) -> int:
        if where == "finishing" and row == 12:
            raise OSError("no space left")
        return row

    with open_shard(run) as shard:
        if where == "reading":
            shard.index = shard.index.copy()
            shard.index[12]["crc32c"] += 1
        found, error = [], BadShard if where == "reading" else OSError
        with pytest.raises(error, match=re.escape(shard.key(12)) if where == "reading" else "no space left"):
            for part in overlapped(shard, InThreads(64, False), teacher, 5, 2, 3, finish):
                found += part
        assert found == list(range(len(found))) and len(found) <= 10
    assert not [t for t in threading.enumerate() if t.name.startswith("label")]


def test_a_damaged_pair_fails_its_shard_by_name_and_publishes_nothing(tmp_path):
    run = lively_run(tmp_path)
    entry = run.manifest.of_splits("train")[0]
    path = shards_folder(run.path) / entry.name
    index = index_of(path)
    with open(path, "r+b") as file:
        file.seek(int(index[3]["offset"][0]) + 50)
        file.write(b"\xff\x00\xff")
    folder = tmp_path / "labels"
    (failed,) = run_units(
        labelling.units(run.config, 0, run.path), labelling.label, folder, describe=labelling.describe
    )
    assert index[3]["key"].decode() in failed.reason and not list(folder.glob("*.tar"))


class PerPixel(torch.nn.Module):
    """Knows nothing of places: turning its input turns its answer."""

    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"high": high * 2 + high.square(), "low": low - 1}


class KnowsPlaces(PerPixel):
    def forward(self, high: torch.Tensor, low: torch.Tensor) -> dict[str, torch.Tensor]:
        ramp = torch.linspace(-1, 1, high.shape[-1])
        return {"high": high * 0 + torch.stack([ramp, 2 * ramp, ramp * 0])[:, None, :], "low": low}


@pytest.mark.parametrize("turns", ["flips", "d4"])
def test_turning_changes_nothing_for_a_network_that_turns_with_its_input(turns):
    views = np.random.default_rng(0).integers(0, 255, (2, 2, 16, 16, 3), dtype=np.uint8)
    plain, turned = (Predictor(PerPixel(), "fp32", turns=t).predict(*views) for t in ("none", turns))  # type: ignore[arg-type]
    for head in plain:
        np.testing.assert_allclose(plain[head], turned[head], atol=1e-6)
        assert np.ptp(plain[head]) > 0.1


@pytest.mark.parametrize(("turns", "same_on_the_diagonal"), [("flips", False), ("d4", True)])
def test_answers_are_the_mean_over_turned_views(turns, same_on_the_diagonal):
    views = np.zeros((2, 1, 8, 8, 3), np.uint8)
    answer = Predictor(KnowsPlaces(), "fp32", turns=turns).predict(*views)["high"][0]  # type: ignore[arg-type]
    np.testing.assert_allclose(answer, answer[:, :, ::-1], atol=1e-6)
    np.testing.assert_allclose(answer, answer[:, ::-1], atol=1e-6)
    assert np.allclose(answer, answer.transpose(0, 2, 1), atol=1e-6) == same_on_the_diagonal


def test_turning_makes_other_labels_under_another_name(run, tmp_path):
    found = {t: make(run, with_label(run.config, tta=t), tmp_path / t) for t in ("none", "flips", "d4")}
    assert len({name for digests in found.values() for name in digests}) == 3
    assert len({digest for digests in found.values() for digest in digests.values()}) == 3
