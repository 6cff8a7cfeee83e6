"""How ranks share a step: the same draws on any number of them, equal shares or a refusal that says what would fit."""

import re

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mlseg_core.errors import UserError
from mlseg_dist.config import LossConfig, TrainConfig
from mlseg_dist.data.order import Order
from mlseg_dist.training.sharing import check_ranks, shared_by
from tests.mlseg_dist.data.test_order import corpora, pools_of, shard_of

STEP, MICRO_BATCH = LossConfig(group="step"), LossConfig()


def train(quads: int, micro_batches: int) -> TrainConfig:
    return TrainConfig(quads_per_micro_batch=quads, micro_batches_per_step=micro_batches)


@pytest.mark.parametrize(("ranks", "samples"), [(1, 16), (2, 8), (4, 4)])
def test_the_papers_sixteen_samples_are_one_micro_batch_a_rank(ranks, samples):
    shared = shared_by(train(1, 4), STEP, ranks)
    assert (shared.samples_per_micro_batch, shared.micro_batches_per_step, shared.samples_per_step) == (
        samples,
        ranks,
        16,
    )


def test_a_loss_over_a_micro_batch_leaves_the_config_as_it_is():
    config = train(2, 8)
    assert all(shared_by(config, MICRO_BATCH, ranks) is config for ranks in (1, 2, 4, 8))


def test_eight_ranks_cannot_share_sixteen_samples():
    with pytest.raises(UserError) as refused:
        check_ranks(train(1, 4), STEP, 8)
    said = str(refused.value)
    assert "8 ranks cannot share 16 samples evenly: they are 4 quads of 2 tumour, 1 normal and 1 others" in said
    assert "Use 1, 2, 4 ranks, or 8 micro-batches: 32 samples a step (configs/paper-8.yaml" in said
    with pytest.raises(UserError, match="2 ranks cannot share 1 micro-batches evenly"):
        check_ranks(train(4, 1), MICRO_BATCH, 2)
    check_ranks(train(4, 1), STEP, 2)  # quads of one micro-batch are shared out too


@given(st.integers(1, 6), st.integers(1, 12), st.integers(1, 24), st.sampled_from([STEP, MICRO_BATCH]))
def test_what_a_refusal_advises_is_taken(quads, micro_batches, ranks, loss):
    config = train(quads, micro_batches)
    try:
        shared = shared_by(config, loss, ranks)
    except UserError as error:
        fits, more = re.search(r"Use ([\d, ]+) ranks, or (\d+) micro-batches", error.fix).groups()
        assert all(
            shared_by(config, loss, int(n)).samples_per_step == config.samples_per_step for n in fits.split(", ")
        )
        assert ranks not in map(int, fits.split(", ")) and int(more) > micro_batches
        assert f": {4 * quads * int(more)} samples" in error.fix
        config = train(quads, int(more))
        shared = shared_by(config, loss, ranks)
    assert shared.samples_per_step == config.samples_per_step and shared.micro_batches_per_step % ranks == 0


@settings(max_examples=40, deadline=None)
@given(
    corpora(), st.integers(1, 4), st.integers(1, 6), st.lists(st.integers(1, 8), min_size=1, max_size=3), st.booleans()
)
def test_any_number_of_ranks_draws_the_same_samples_and_a_resumed_job_goes_on_with_them(
    pools, quads, each, worlds, step
):
    """worlds: of the starts of the job, each after a step of the one before. Every rank is a fresh process each time."""
    config, loss = train(quads, each), STEP if step else MICRO_BATCH
    drawn = []
    for attempt, ranks in enumerate(worlds):
        assume((config.quads_per_step if step else each) % ranks == 0)
        shared = shared_by(config, loss, ranks)
        of_step = shared.micro_batches_per_step
        for rank in range(ranks):
            order = Order(pools, 5, "master-1", quads, each, shared.quads_per_micro_batch)
            for number in range(rank, of_step, ranks):
                drawn += order.micro_batch(attempt * of_step + number)
    alone = Order(pools, 5, "master-1", quads, each)
    expected = [draw for number in range(len(worlds) * each) for draw in alone.micro_batch(number)]
    assert sorted(drawn, key=lambda draw: draw.index) == expected
    assert alone.passes(each) == Order(pools, 5, "master-1", quads, each, config.quads_per_step).passes(1)


@settings(max_examples=40, deadline=None)
@given(corpora(most_shards=60), st.integers(1, 3), st.sampled_from([1, 2, 4, 6]), st.integers(0, 60), st.data())
def test_the_shards_to_read_ahead_are_those_that_a_share_begins_to_draw_from(pools, quads, each, number, data):
    at_once = data.draw(st.sampled_from([n for n in range(1, quads * each + 1) if quads * each % n == 0]))
    order = Order(pools, 2, "base", quads, each, at_once)
    draws = order.micro_batch(number)
    assert order.lane(number) == order.place(draws[0].index).lane
    begins = [d for i, d in enumerate(draws) if i < 4 or (d.index // 4) % quads == 0]
    first_of_class = [d for d in begins if d.index % 4 in (0, 2, 3)]
    assert {shard_of(pools, d.pair) for d in first_of_class} <= set(order.shards(number))


def test_lanes_are_those_of_the_config_on_any_number_of_ranks():
    """Else the draws of a step would depend on the ranks."""
    pools = pools_of(np.full((64, 4), 10))
    assert len({Order(pools, 1, "base", 1, 4, at_once).lanes for at_once in (1, 2, 4)}) == 1
