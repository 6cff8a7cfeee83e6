"""The order's benchmark counts what it says it counts."""

import sys

import numpy as np
import pytest

from benchmarks.common.bare_corpus import TRAINING_CLASSES, write_corpus
from benchmarks.order import __main__ as benchmark
from benchmarks.order.locality import copied_mb, global_shuffle, mixing, ours, reading
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.order import Order, Pools
from shards.manifest import read_seeds


def pools_of(shards):
    """One hundred pairs of each class in every shard."""
    classes = np.tile(np.repeat(np.arange(3, dtype=np.uint8), 100), shards)
    return Pools(classes, np.arange(shards + 1) * 300, np.arange(shards), np.arange(shards) % 3)


def test_files_are_counted_once_while_they_stay_open_and_again_when_they_do_not():
    def turns(number):
        return [300 * ((number * 16 + i) % 5) for i in range(16)]  # five shards in turn

    pools = pools_of(5)
    held = reading(turns, pools, world=1, per_step=1, most_open=100)
    assert (held.distinct, held.opened) == (10, 0)
    thrashed = reading(turns, pools, world=1, per_step=1, most_open=8)  # four shards with their sidecars
    assert (thrashed.distinct, thrashed.opened) == (10, 2000)
    assert thrashed.mb == held.mb == pytest.approx(212, rel=0.01)
    assert thrashed.mb_whole_index == pytest.approx(212 + 1000 * 300 * (128 + 112) / 1e6)


def test_a_shuffle_of_all_pairs_sees_each_once_and_two_to_one_to_one():
    pools = pools_of(4)
    draw = global_shuffle(pools, quads=2)
    drawn = [pair for number in range(100) for pair in draw(number)]
    counts = np.bincount(pools.classes[drawn])
    assert counts.tolist() == [200, 400, 200]
    assert len({pair for pair in drawn if pools.classes[pair] == 1}) == 400


def test_a_shard_that_is_copied_for_each_class_costs_its_bytes_three_times():
    order = Order(pools_of(64), 0, "base", 1, 1)
    shard_mb = 300 * 212_000 / 1e6
    once = 64 * shard_mb / (64 * 100) * 1000  # per 1,000 draws of one class, if lanes shared no shard
    assert once <= copied_mb(order) < 3 * once


def test_mixing_counts_slides_and_strata():
    pools = pools_of(6)
    assert mixing(lambda number: [0, 300, 600, 900], pools, 5) == (4, 3)
    assert mixing(ours(Order(pools, 0, "base", 4, 1)), pools)[0] > 3


def test_the_synthetic_corpus_is_one_that_readers_take(tmp_path):
    folders = write_corpus(tmp_path, 3000, 12)
    corpus = Corpus(folders[0], TRAINING_CLASSES, folders[1])
    assert sum(corpus.pools().sizes) == pytest.approx(3000 * (0.7 + 0.3 * 0.8), rel=0.05)
    assert len(read_seeds(corpus.folder, corpus.manifest)) == 3000


def test_the_page(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "_REPEATS", 1)
    page = tmp_path / "order.md"
    monkeypatch.setattr(sys, "argv", ["order", "--pairs", "5000", "--shards", "30", "--out", str(page)])
    assert benchmark.main() == 0
    assert page.read_text().count("| **ours** |") == 4
