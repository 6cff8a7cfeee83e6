"""Labelling with views that DALI decodes: its CPU decoder stands in here; `make gpu` runs the marked ones on a GPU's."""

import json

import numpy as np
import pytest

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")

import torch

from mlseg_dist import labelling
from mlseg_dist.data import labels
from mlseg_dist.inference import load_teacher
from mlseg_dist.labelling.loading import InThreads, OnDali
from mlseg_dist.labelling.pipeline import batches_of, overlapped
from shards.sample import decode_label, encode_jpeg
from shards.tar import BadShard, ShardReader
from tests.mlseg_dist.labelling.rounds import lively_run, make, with_label
from tests.mlseg_dist.labelling.test_pipeline import open_shard
from tests.mlseg_dist.tiny_run import TinyRun

SIDE, BATCH = 64, 5
WHERE = [
    pytest.param(None, id="cpu"),
    pytest.param(
        0,
        id="gpu",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: make gpu")],
    ),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> TinyRun:
    return lively_run(tmp_path_factory.mktemp("dali"))


def loaded(shard: ShardReader, loader, rows) -> np.ndarray:
    """(2, B, S, S, 3)."""
    batch = loader.batch(rows)
    for position in range(len(rows)):
        batch.read(shard, position)
    batch.start()
    return np.stack([view.cpu().numpy() for view in batch.views()])


@pytest.mark.parametrize("device", WHERE)
def test_views_are_those_that_opencv_decodes_to_a_level_or_two(run, device):
    """The JPEG standard leaves rounding to the decoder: libjpeg's is OpenCV's, nvJPEG's differs."""
    loader = OnDali(SIDE, BATCH, device, 1)
    with open_shard(run) as shard:
        for rows in batches_of(len(shard), BATCH):  # the last one is not full
            ours, theirs = loaded(shard, loader, rows), loaded(shard, InThreads(SIDE, False), rows)
            away = np.abs(ours.astype(int) - theirs)
            assert ours.shape == theirs.shape and away.max() <= (0 if device is None else 4), away.max()
            assert away.mean() < 0.5


@pytest.mark.parametrize("device", WHERE)
def test_codes_are_those_of_the_other_decoder(run, device):
    teacher = load_teacher(run.config, 0, run.path)

    def every(loader) -> np.ndarray:
        with open_shard(run) as shard:
            parts = overlapped(shard, loader, teacher, BATCH, 2, 3, lambda row, codes: (row, codes["high"]))
            found = [one for part in parts for one in part]
        assert [row for row, _ in found] == list(range(len(found)))
        return np.stack([codes for _, codes in found])

    ours, theirs = every(OnDali(SIDE, BATCH, device, 1)), every(InThreads(SIDE, device is not None))
    classes = [codes // labels.LEVELS for codes in (ours, theirs)]
    assert len(np.unique(ours)) > 10
    assert (classes[0] == classes[1]).mean() >= (1.0 if device is None else 0.99)


def test_a_round_cut_short_leaves_nothing_in_the_decoder(run):
    teacher, loader = load_teacher(run.config, 0, run.path), OnDali(SIDE, BATCH, None, 1)

    def rows(shard: ShardReader) -> list[int]:
        return [row for part in overlapped(shard, loader, teacher, BATCH, 2, 3, lambda row, _: row) for row in part]

    with open_shard(run) as shard:
        expected = rows(shard)
        begun = overlapped(shard, loader, teacher, BATCH, 2, 3, lambda row, _: row)
        assert next(begun) == expected[:BATCH]
        begun.close()
        shard.index = shard.index.copy()
        shard.index[12]["crc32c"] += 1
        with pytest.raises(BadShard, match="damaged"):
            rows(shard)
    with open_shard(run) as shard:
        first = loaded(shard, loader, range(3))
        assert np.array_equal(first, loaded(shard, InThreads(SIDE, False), range(3)))


def test_a_view_of_another_size_or_no_jpeg_is_told_with_its_key(run, monkeypatch):
    loader = OnDali(SIDE, BATCH, None, 1)
    for data, said in (
        (encode_jpeg(np.zeros((32, 64, 3), np.uint8), 90), "it is (32, 64, 3)"),
        (b"no jpeg", "high.jpg: "),
    ):
        with open_shard(run) as shard:
            monkeypatch.setattr(shard, "read_member", lambda row, member, data=data: data)
            with pytest.raises(BadShard) as raised:
                loader.batch(range(3)).read(shard, 1)
            assert said in str(raised.value) and shard.key(1) in str(raised.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_is_a_mistake_in_the_config(run, tmp_path):
    from mlseg_core.exactly_once.run import run_units

    config = with_label(run.config, decode_on="gpu")
    units = labelling.units(config, 0, run.path)
    (failed,) = run_units(units, labelling.label, tmp_path, describe=labelling.describe)
    assert failed.mistake and "no CUDA device" in failed.reason and "label.decode_on=cpu" in failed.reason


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: make gpu")
def test_a_round_on_a_gpu_has_other_names_and_nearly_the_same_labels(run, tmp_path):
    made = {}
    for where in ("cpu", "gpu"):
        assert make(run, with_label(run.config, decode_on=where), tmp_path / where)
        (path,) = (tmp_path / where).glob("*.tar")
        with ShardReader(path, labelling.MEMBERS) as shard:
            assert json.loads(shard.read(0)["json"])["device"] == torch.cuda.get_device_name()
            codes = [decode_label(shard.read(row)["high.png"]) // labels.LEVELS for row in range(len(shard))]
            made[path.name] = np.stack(codes)
    one, other = made.values()
    assert len(made) == 2 and (one == other).mean() >= 0.99
