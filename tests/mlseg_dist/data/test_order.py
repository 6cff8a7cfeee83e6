"""Order: 2:1:1 in every micro-batch, the same draws whatever the world, every pair once a pass, few shards a lane at a time."""

import time
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlseg_core.errors import UserError
from mlseg_dist.config import LossConfig, TrainConfig
from mlseg_dist.data.order import LANES, WINDOW, Order, Pools, deal, lanes_for
from mlseg_dist.training.sharing import check_ranks

WORLDS = (1, 2, 3, 4, 6, 8)
STEP = 24
"""Micro-batches of a step: every world divides it."""


def pools_of(counts: np.ndarray, seed: int = 0, strata: int = 3) -> Pools:
    """counts (shards, 4): pairs of class 0, 1, 2 and of none in each shard, in a random order within the shard."""
    random = np.random.default_rng(seed)
    ids = np.array([0, 1, 2, 255], np.uint8)
    shards = [random.permutation(np.repeat(ids, row)) for row in counts]
    first = np.concatenate([[0], np.cumsum([len(shard) for shard in shards])])
    slide = np.arange(len(counts)) // 2
    return Pools(np.concatenate(shards), first, slide, slide % strata)


@st.composite
def corpora(draw, most_shards=24, most=9):
    """Few or many shards; classes everywhere, in some shards, or in a single one."""
    shards = draw(st.integers(1, most_shards))
    columns = [draw(st.lists(st.integers(0, most), min_size=shards, max_size=shards)) for _ in range(4)]
    for column in columns[:3]:
        column[draw(st.integers(0, shards - 1))] += draw(st.integers(1, 3 * most))
    if draw(st.booleans()):  # a class that few shards hold
        rare = draw(st.integers(0, 2))
        only = draw(st.integers(0, shards - 1))
        columns[rare] = [(n + 5) if i == only else 0 for i, n in enumerate(columns[rare])]
    return pools_of(np.array(columns).T, draw(st.integers(0, 3)))


def shard_of(pools: Pools, pair: int) -> int:
    return int(np.searchsorted(pools.first, pair, "right")) - 1


@settings(max_examples=60, deadline=None)
@given(corpora(), st.integers(0, 9), st.integers(1, 4), st.integers(0, 10**9))
def test_two_to_one_to_one_in_every_micro_batch_and_indices_without_a_gap(pools, seed, quads, far):
    order = Order(pools, seed, "base", quads, 2)
    for number in (0, 1, 2, far):
        draws = order.micro_batch(number)
        assert Counter(int(pools.classes[d.pair]) for d in draws) == {1: 2 * quads, 0: quads, 2: quads}
        assert [d.index for d in draws] == list(range(number * 4 * quads, (number + 1) * 4 * quads))


@settings(max_examples=40, deadline=None)
@given(corpora(), st.lists(st.tuples(st.integers(1, 3), st.sampled_from(WORLDS)), min_size=1, max_size=4))
def test_stopped_at_any_step_and_resumed_at_any_world_the_draws_are_the_uninterrupted_ones(pools, starts):
    """starts: (steps until the stop, world) of each start of the job; every rank is a fresh process each time."""
    done, drawn = 0, []
    for steps, world in starts:
        check_ranks(TrainConfig(micro_batches_per_step=STEP), LossConfig(), world)
        ranks = [Order(pools, 5, "master-1", 1, STEP) for _ in range(world)]
        for step in range(done, done + steps):
            shared = {
                m: ranks[m % world].micro_batch(step * STEP + m)
                for rank in range(world)
                for m in range(rank, STEP, world)
            }
            drawn += [draw for m in range(STEP) for draw in shared[m]]
        done += steps
    alone = Order(pools, 5, "master-1", 1, STEP)
    assert drawn == [draw for m in range(done * STEP) for draw in alone.micro_batch(m)]


@settings(max_examples=60, deadline=None)
@given(corpora(), st.integers(1, 3), st.sampled_from([1, 2, 3, 8, 24]), st.integers(0, 50))
def test_every_pair_comes_up_exactly_once_in_every_pass(pools, quads, per_step, turn):
    """Checked for the first three passes and for one far on."""
    order = Order(pools, 1, "base", quads, per_step)
    for c, size in enumerate(pools.sizes):
        expected = np.flatnonzero(pools.classes == c).tolist()
        each = quads * (2 if c == 1 else 1)
        for number in (0, 1, 2, turn):
            first, last = number * size, (number + 1) * size
            draws = [d for m in range(first // each, -(-last // each)) for d in order.micro_batch(m)]
            stream = [d.pair for d in draws if pools.classes[d.pair] == c]
            skip = first - first // each * each
            assert sorted(stream[skip : skip + size]) == expected


def test_passes_differ_and_so_do_seeds_and_phases():
    pools = pools_of(np.full((12, 4), 10))

    def first(seed, phase, begin=0):
        return [d.pair for m in range(begin, begin + 9) for d in Order(pools, seed, phase, 1, 1).micro_batch(m)]

    assert first(1, "base") == first(1, "base")
    assert len({tuple(first(*which)) for which in ((1, "base"), (2, "base"), (1, "master-1"), (1, "base", 120))}) == 4


@settings(max_examples=60, deadline=None)
@given(corpora(most_shards=60), st.integers(1, 4), st.sampled_from([1, 2, 3, 6, 8, 24]), st.integers(0, 300))
def test_a_micro_batch_is_of_one_lane_whose_windows_are_bounded(pools, quads, per_step, number):
    order = Order(pools, 2, "base", quads, per_step)
    lane = number % order.lanes
    places = [order.place(d.index) for d in order.micro_batch(number)]
    assert {place.lane for place in places} == {lane}
    for place, drawn in zip(places, order.micro_batch(number), strict=True):
        dealt = order.deal_of(place.training_class, place.turn)
        low, high, begin, end = dealt.window(lane, place.window)
        assert 0 < high - low <= WINDOW and 0 <= place.offset < end - begin
        assert dealt.lane_start[lane] <= begin < end <= dealt.lane_start[lane + 1]
        assert shard_of(pools, drawn.pair) in dealt.shard[low:high]
    at_the_beginning = [d for d in order.micro_batch(number) if d.index % 4 in (0, 2, 3)][:3]
    assert {shard_of(pools, d.pair) for d in at_the_beginning} <= set(order.shards(number))
    assert len(order.shards(number)) <= 3 * WINDOW


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 3000), st.integers(1, 200))
def test_lanes_leave_every_rank_its_own(shards, per_step):
    """On any number of ranks that divides the step two ranks share no lane, when lanes and micro-batches fit each other."""
    lanes = lanes_for(shards, per_step)
    assert 1 <= lanes <= LANES and (lanes == 1 or shards >= 4 * lanes)
    if lanes % per_step == 0:
        for world in (w for w in range(1, per_step + 1) if per_step % w == 0):
            of_rank = [{m % lanes for m in range(rank, per_step * lanes, world)} for rank in range(world)]
            assert sum(map(len, of_rank)) == lanes


@pytest.mark.parametrize(
    ("shards", "per_step", "lanes"), [(1500, 1, 64), (1500, 64, 64), (1500, 3, 63), (1500, 48, 48)]
)
def test_how_many_lanes(shards, per_step, lanes):
    assert lanes_for(shards, per_step) == lanes
    assert [lanes_for(n, 1) for n in (1, 7, 8, 40, 300)] == [1, 1, 2, 10, 64]
    assert [lanes_for(1500, n) for n in (96, 128, 200, 67)] == [48, 64, 50, 64]
    assert lanes_for(40, 8) == 8 and lanes_for(40, 16) == 8


@pytest.mark.parametrize("shards", [40, 400])
def test_lanes_and_windows_mix_strata_and_slides_in_proportion(shards):
    """Three strata of 60, 30 and 10 percent of the shards, which lie in the manifest one after the other."""
    strata = np.repeat([0, 1, 2], [shards * 6 // 10, shards * 3 // 10, shards // 10])
    slide = np.arange(shards) // 2
    counts = np.random.default_rng(0).integers(50, 150, shards)
    lanes = shards // 20
    shares = np.full(lanes, counts.sum() // lanes)
    shares[: counts.sum() % lanes] += 1
    dealt = deal(counts, slide, strata, shares, np.random.default_rng(1))
    size = np.diff(dealt.start)
    assert sorted(dealt.shard) == sorted(np.repeat(np.arange(shards), np.bincount(dealt.shard)))
    assert [size[dealt.shard == s].sum() for s in range(shards)] == counts.tolist()
    for lane in range(lanes):
        low, high = dealt.pieces(lane)
        share = np.bincount(strata[dealt.shard[low:high]], size[low:high], 3) / size[low:high].sum()
        assert abs(share - [0.6, 0.3, 0.1]).max() < 0.12
        for window in range(dealt.windows(lane)):
            low, high, *_ = dealt.window(lane, window)
            assert len(set(strata[dealt.shard[low:high]])) >= 2
            assert len(set(slide[dealt.shard[low:high]])) > (high - low) / 2


def test_a_class_in_one_shard_goes_to_every_lane():
    counts = np.zeros((64, 4), int)
    counts[:, 0], counts[:, 2], counts[5, 1] = 40, 20, 999
    order = Order(pools_of(counts), 0, "base", 2, 16)
    assert order.lanes == 16
    drawn = [d.pair for m in range(16) for d in order.micro_batch(m) if d.index % 4 < 2]
    assert len(set(drawn)) == len(drawn) == 64


@settings(max_examples=60, deadline=None)
@given(corpora(), st.integers(0, 200), st.data())
def test_excluded_pairs_are_replaced_alike_whether_known_before_or_found_by_reading(pools, number, data):
    order = Order(pools, 3, "base", 1, 4)
    known = {
        pair
        for c in range(3)
        for of_class in [np.flatnonzero(pools.classes == c).tolist()]
        for pair in data.draw(st.lists(st.sampled_from(of_class), max_size=len(of_class) - 1, unique=True))
    }
    found_late = set(data.draw(st.lists(st.sampled_from(sorted(known)), unique=True))) if known else set()
    drawn = order.micro_batch(number, known)
    assert not {d.pair for d in drawn} & known
    for plain, draw in zip(order.micro_batch(number), drawn, strict=True):
        assert draw.index == plain.index and pools.classes[draw.pair] == pools.classes[plain.pair]
        assert plain.pair in known or draw == plain
        readable = (d for d in order.replacements(draw.index, known - found_late) if d.pair not in found_late)
        assert next(readable) == draw, "a rank that finds some of them only when it reads draws the same"


def test_a_replacement_is_of_the_same_window_while_it_has_one():
    pools = pools_of(np.full((40, 4), 20))
    order = Order(pools, 3, "base", 4, 1)
    for plain in order.micro_batch(7):
        place = order.place(plain.index)
        low, high, *_ = (dealt := order.deal_of(place.training_class, place.turn)).window(place.lane, place.window)
        draw = order.draw(plain.index, {plain.pair})
        assert draw.pair != plain.pair and shard_of(pools, draw.pair) in dealt.shard[low:high]


def test_a_class_all_of_whose_pairs_are_excluded_is_an_error():
    order = Order(pools_of(np.full((3, 4), 2)), 3, "base", 1, 1)
    with pytest.raises(UserError, match="no pair of class 1 is left"):
        order.micro_batch(0, set(np.flatnonzero(order.pools.classes == 1).tolist()))


def test_two_draws_of_one_pair_have_different_indices_and_so_different_augmentation():
    order = Order(pools_of(np.array([[1, 1, 1, 0]])), 0, "base", 1, 1)
    draws = [d for m in range(5) for d in order.micro_batch(m)]
    assert len({d.pair for d in draws}) == 3 and len({d.index for d in draws}) == 20


def test_resuming_far_on_takes_milliseconds():
    """Step 700,000 of 64 micro-batches, a corpus of 300,000 pairs; the first micro-batch of a new process."""
    pools = pools_of(np.full((300, 4), 250))
    assert sum(pools.sizes) == 225_000
    order = Order(pools, 0, "base", 4, 64)
    begun = time.perf_counter()
    order.micro_batch(700_000 * 64)
    assert time.perf_counter() - begun < 0.1


def test_how_often_each_class_repeats():
    order = Order(pools_of(np.array([[40, 20, 5, 3]])), 0, "base", 2, 1)
    assert order.passes(10) == [10 * 2 / 40, 10 * 4 / 20, 10 * 2 / 5]
