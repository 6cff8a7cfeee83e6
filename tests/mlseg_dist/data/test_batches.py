"""Micro-batches as ranks prepare them: the same bytes on any world, resumed or not, with pairs that cannot be read."""

import re
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from mlseg_dist.config import StepConfig
from mlseg_dist.data.batches import Batches
from mlseg_dist.data.corpus import BadPair, Corpus
from mlseg_dist.data.order import Order
from mlseg_dist.run_folder import shards_folder
from tests.mlseg_dist.tiny_run import tiny_run
from tests.shards.tars import index_of

STEP = 4
STEPS = 6
IMAGES = ("high", "low", "high_label", "low_label")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_run(tmp_path_factory.mktemp("batches"))


@pytest.fixture
def run(made, tmp_path):
    return type(made)(Path(shutil.copytree(made.path, tmp_path / "run")), made.config)


def batches_of(run, replace_bad=False, cache=None, pinned=False):
    corpus = Corpus(shards_folder(run.path), run.config.training_classes)
    if cache is not None:
        corpus.use_cache(cache, 10**9)
    order = Order(corpus.pools(), 3, "base", 1, STEP)
    return Batches(corpus, order, StepConfig.model_fields["augment"].default, 32, 2, replace_bad, pinned)


def drawn(run, world, stop=STEPS, replace_bad=False, cache=None):
    """Number -> micro-batch, over all ranks, a step at a time, and what is excluded in the end.

    At step `stop` all ranks end, and others begin with what the cursor keeps.
    """
    found, excluded, done = {}, frozenset(), 0
    for end in dict.fromkeys((stop, STEPS)):
        ranks = [batches_of(run, replace_bad, cache) for _ in range(world)]
        for rank in ranks:
            rank.excluded = excluded
        streams = [
            rank.stream(iter([step * STEP + m for step in range(done, end) for m in range(number, STEP, world)]))
            for number, rank in enumerate(ranks)
        ]
        for _ in range(done, end):
            batches = [next(stream) for stream in streams for _ in range(STEP // world)]
            found |= {batch.number: batch for batch in batches}
            excluded = excluded.union(*(batch.bad for batch in batches))
            for rank in ranks:
                rank.excluded = excluded
        done = end
    return found, excluded


def assert_same(one, other):
    assert sorted(one) == sorted(other) == list(range(STEPS * STEP))
    for number, batch in one.items():
        for name in IMAGES:
            assert torch.equal(getattr(batch, name), getattr(other[number], name)), (number, name)


def damage(run, count=3):
    """Flip a byte in `count` pairs of each class, among those that come up first."""
    batches = batches_of(run)
    corpus, first = batches.corpus, [d.pair for m in range(STEPS * STEP) for d in batches.order.micro_batch(m)]
    chosen = []
    for c in range(3):
        of_class = list(dict.fromkeys(pair for pair in first if corpus.drawing_classes[pair] == c))
        chosen += of_class[1 : 2 * count : 2]
    for pair in chosen:
        ref = corpus.ref(pair)
        path = corpus.folder / corpus.manifest.shards[ref.shard].name
        place = index_of(path)[ref.row]
        data = bytearray(path.read_bytes())
        data[int(place["offset"][0]) + 7] ^= 2
        path.write_bytes(data)
    return chosen


@pytest.mark.parametrize(("world", "stop"), [(2, STEPS), (4, 3), (1, 1)])
def test_any_world_and_any_stop_give_the_same_bytes(run, world, stop):
    assert_same(drawn(run, world, stop)[0], drawn(run, 1)[0])


@pytest.mark.parametrize(("world", "stop"), [(2, STEPS), (4, 2), (1, 3)])
def test_with_bad_pairs_too(run, world, stop):
    bad = damage(run)
    whole, excluded = drawn(run, 1, replace_bad=True)
    other, excluded_there = drawn(run, world, stop, replace_bad=True)
    assert excluded == excluded_there == set(bad)
    assert_same(whole, other)
    told = {pair for batch in whole.values() for pair in batch.bad}
    assert told == set(bad)


def test_what_was_prepared_ahead_forgets_a_pair_once_it_is_excluded(run):
    """The bytes after an exclusion are those of a run that never knew the pair."""
    order = batches_of(run).order
    late = next(d.pair for d in order.micro_batch(3) if d.pair not in {e.pair for e in order.micro_batch(0)})
    one, other = batches_of(run), batches_of(run)
    other.excluded = frozenset([late])
    stream, expected = one.stream(iter(range(8))), other.stream(iter(range(8)))
    first = next(stream)  # three more are under way now
    one.excluded = frozenset([late])
    got = [first, *stream]
    for batch, same in zip(got, expected, strict=True):
        assert all(torch.equal(getattr(batch, name), getattr(same, name)) for name in IMAGES), batch.number
    plain = next(batch for batch in batches_of(run).stream(iter(range(8))) if batch.number == 3)
    assert any(not torch.equal(getattr(plain, name), getattr(got[3], name)) for name in IMAGES)


def test_micro_batches_in_use_keep_their_bytes_and_closing_leaves_no_thread(run):
    batches = batches_of(run)
    stream, held = batches.stream(iter(range(99))), []
    for batch in stream:
        held.append((batch, {name: getattr(batch, name).clone() for name in IMAGES}))
        if batch.number == 5:
            batches.excluded = frozenset([batches.order.micro_batch(6)[0].pair])  # what is under way is made again
        if batch.number == 9:
            break
    stream.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batches")]
    for batch, copies in held:
        assert all(torch.equal(getattr(batch, name), copy) for name, copy in copies.items()), batch.number


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device; where there is one: make gpu")
def test_for_a_gpu_they_are_pinned_and_the_same(run):
    for plain, pinned in zip(*(batches_of(run, pinned=p).stream(iter(range(8))) for p in (False, True)), strict=True):
        for name in IMAGES:
            assert getattr(pinned, name).is_pinned() and not getattr(plain, name).is_pinned()
            assert torch.equal(getattr(pinned, name).cuda(non_blocking=True).cpu(), getattr(plain, name))


def test_by_default_a_bad_pair_is_an_error_with_shard_and_key(run):
    pair = damage(run, 1)[0]
    batches = batches_of(run)
    ref = batches.corpus.ref(pair)
    shard = batches.corpus.manifest.shards[ref.shard].name
    with pytest.raises(BadPair, match=re.escape(f"{shard}: ")):
        list(batches.stream(iter(range(STEPS * STEP))))
    index = next(d.index for m in range(99) for d in batches.order.micro_batch(m) if d.pair == pair)
    with pytest.raises(BadPair, match=re.escape(f"{shard}: {ref.key}.high.jpg is damaged")):
        batches.sample(batches.order.draw(index))


def test_two_draws_of_one_pair_differ(run):
    batches = batches_of(run)
    draws = [draw for m in range(60) for draw in batches.order.micro_batch(m)]
    first = draws[0]
    again = next(draw for draw in draws[1:] if draw.pair == first.pair)
    one, same, other = (batches.sample(draw) for draw in (first, first, again))
    assert all(np.array_equal(getattr(one, name), getattr(same, name)) for name in IMAGES)
    assert not all(np.array_equal(getattr(one, name), getattr(other, name)) for name in IMAGES)


def test_through_a_cache_the_same_bytes(run, tmp_path):
    assert_same(drawn(run, 2, cache=tmp_path / "cache")[0], drawn(run, 1)[0])
    assert any(path.suffix == ".tar" for path in (tmp_path / "cache").iterdir())
