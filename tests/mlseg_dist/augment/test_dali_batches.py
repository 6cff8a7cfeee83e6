"""Micro-batches by DALI (its CPU operators): those of the CPU executor, through exclusions, replacements and restarts."""

import numpy as np
import pytest

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")

import torch

from mlseg_dist.augment.dali.batches import DaliBatches
from mlseg_dist.data.batches import Batches
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.order import Order
from mlseg_dist.run_folder import shards_folder
from tests.mlseg_dist.augment.scene import policy
from tests.mlseg_dist.tiny_run import tiny_run

NAMES = ("high", "low", "high_label", "low_label")
POLICY = policy("rotate", "flip", "elastic", "colour_jitter", "gaussian_noise")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("dali"))


def batches_of(kind, run):
    corpus = Corpus(shards_folder(run.path), run.config.training_classes)
    return kind(corpus, Order(corpus.pools(), 3, "base", 1, 4), POLICY, 32, 1.0, 2)


def near(one, other):
    assert one.number == other.number
    for name in NAMES:
        a, b = getattr(one, name), getattr(other, name)
        assert a.shape == b.shape and a.dtype == b.dtype == torch.uint8
        if name.endswith("label"):
            assert (a != b).float().mean() < 0.01
        else:
            assert np.abs(a.numpy().astype(int) - b.numpy()).mean() < 1


def test_micro_batches_are_the_cpu_executors_and_a_resumed_stream_goes_on_bit_for_bit(made):
    ours, theirs = batches_of(DaliBatches, made), batches_of(Batches, made)
    straight = list(ours.stream(iter(range(5))))
    for one, other in zip(straight, theirs.stream(iter(range(5))), strict=True):
        near(one, other)
    left = ours.stream(iter(range(5)))
    next(left)
    left.close()
    resumed = list(batches_of(DaliBatches, made).stream(iter(range(2, 5))))
    again = list(ours.stream(iter(range(2, 5))))
    for name in NAMES:
        for a, b, c in zip(straight[2:], resumed, again, strict=True):
            assert torch.equal(getattr(a, name), getattr(b, name)) and torch.equal(getattr(a, name), getattr(c, name))


def test_what_dali_has_is_made_again_when_a_pair_is_excluded(made):
    ours, theirs = batches_of(DaliBatches, made), batches_of(Batches, made)
    streams = [batches.stream(iter(range(5))) for batches in (ours, theirs)]
    near(*(next(stream) for stream in streams))
    gone = frozenset(draw.pair for draw in ours.order.micro_batch(1)[:1])
    for batches in (ours, theirs):
        batches.excluded = gone
    for one, other in zip(*streams, strict=True):
        near(one, other)
