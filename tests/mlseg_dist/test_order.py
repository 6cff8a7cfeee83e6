"""Order: 2:1:1 in every micro-batch, the same draws whatever the world, every pair comes up."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from mlseg_dist.data.corpus import PairRef
from mlseg_dist.data.order import Order


def pools(*sizes):
    return {
        c: [PairRef(c, row, f"k{c}-{row}", f"s{row % 3}", "train") for row in range(size)]
        for c, size in enumerate(sizes)
    }


SIZES = st.tuples(*(st.integers(1, 30),) * 3)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.integers(0, 9), st.integers(1, 4))
def test_two_to_one_to_one_in_every_micro_batch(sizes, seed, quads):
    order = Order(pools(*sizes), seed, "base", quads)
    for number in range(4):
        draws = order.micro_batch(number)
        assert Counter(d.pair.shard for d in draws) == {1: 2 * quads, 0: quads, 2: quads}
        assert [d.index for d in draws] == list(range(number * 4 * quads, (number + 1) * 4 * quads))


@settings(max_examples=40, deadline=None)
@given(SIZES, st.sampled_from([1, 2, 3, 4, 6]), st.integers(0, 11))
def test_ranks_together_draw_what_one_rank_draws_from_any_step(sizes, world, first):
    """12 micro-batches a step; ranks take them in turn."""
    alone = Order(pools(*sizes), 5, "master-1", 1)
    step = [alone.micro_batch(m) for m in range(first * 12, first * 12 + 12)]
    shared = {}
    for rank in range(world):
        mine = Order(pools(*sizes), 5, "master-1", 1)  # a fresh process, no history
        for m in range(rank, 12, world):
            shared[m] = mine.micro_batch(first * 12 + m)
    assert [shared[m] for m in range(12)] == step


@settings(max_examples=40, deadline=None)
@given(SIZES)
def test_every_pair_comes_up_once_a_pass_and_passes_differ(sizes):
    order = Order(pools(*sizes), 1, "base", 1)
    quads = max(sizes) * 2
    drawn = [d.pair for m in range(quads) for d in order.micro_batch(m)]
    for c, size in enumerate(sizes):
        of_class = [p.row for p in drawn if p.shard == c]
        passes = [of_class[i : i + size] for i in range(0, len(of_class) - size + 1, size)]
        assert all(sorted(p) == list(range(size)) for p in passes)
    if sizes[0] > 8:
        rows = [p.row for p in drawn if p.shard == 0]
        assert rows[: sizes[0]] != rows[sizes[0] : 2 * sizes[0]]


def test_seed_and_phase_change_the_order():
    def first(seed, phase):
        return [d.pair.row for m in range(9) for d in Order(pools(40, 40, 40), seed, phase, 1).micro_batch(m)]

    assert first(1, "base") == first(1, "base")
    assert first(1, "base") != first(2, "base") != first(2, "master-1") != first(1, "base")
