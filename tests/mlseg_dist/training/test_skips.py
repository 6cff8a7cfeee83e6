"""Which steps were skipped, when training goes back, and whose draws it leaves out: the same however often somebody looked."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mlseg_dist.training.state.skips import Skips


def finite(good: bool) -> torch.Tensor:
    return torch.tensor(good)


def looked(steps: list[bool], looks: set[int], most: int, cut: int | None = None) -> Skips:
    """Skips after `steps`, looked at after the steps in `looks`; saved and loaded again after `cut` steps."""
    skips = Skips(most)
    for step, good in enumerate(steps):
        skips.add(step, finite(good))
        if step in looks or step == cut:
            skips.look()
        if skips.too_many:
            return skips
        if step == cut:
            record = skips.record()
            skips = Skips(most)
            skips.load(record)
    skips.look()
    return skips


def test_steps_are_counted_and_a_row_ends_with_a_good_one():
    skips = Skips(3)
    for step, good in enumerate([True, False, False, True, False]):
        skips.add(step, finite(good))
    assert skips.look() == [1, 2, 4]
    assert skips.in_a_row == [4] and skips.total == 3 and not skips.too_many
    assert skips.look() == []


def test_after_too_many_the_draws_of_the_first_of_the_row_are_left_out():
    skips = looked([True, True, False, False, False, False], {5}, most=3)
    assert skips.too_many
    assert skips.go_back() == 2
    assert skips.left_out == [2, 3, 4] and skips.rollbacks == 1
    assert [skips.attempt(step) for step in range(5)] == [0, 1, 5, 6, 7]
    for step in range(2, 5):
        skips.add(step, finite(False))
    skips.look()
    assert skips.go_back() == 2
    assert skips.left_out == [2, 3, 4, 5, 6, 7]


@given(st.sets(st.integers(0, 30)), st.integers(0, 40))
def test_attempts_are_the_numbers_that_are_not_left_out_in_order(left_out, steps):
    skips = Skips(1)
    skips.load({"in_a_row": [], "left_out": sorted(left_out), "total": 0, "rollbacks": 0})
    expected = [number for number in range(steps + len(left_out)) if number not in left_out][:steps]
    assert [skips.attempt(step) for step in range(steps)] == expected


@given(st.lists(st.booleans(), max_size=24), st.sets(st.integers(0, 23)), st.integers(1, 4), st.integers(0, 23))
def test_how_often_somebody_looks_and_a_stop_between_change_nothing(steps, looks, most, cut):
    plain = looked(steps, {len(steps) - 1}, most)
    other = looked(steps, looks, most, cut)
    assert plain.too_many == other.too_many
    if plain.too_many:
        assert plain.go_back() == other.go_back()
        assert plain.left_out == other.left_out
    else:
        assert plain.record() == other.record()


@pytest.mark.parametrize("most", [1, 2])
def test_a_row_goes_on_over_two_looks(most):
    skips = Skips(most)
    skips.add(0, finite(False))
    skips.look()
    skips.add(1, finite(False))
    assert skips.look() == [1]
    assert skips.too_many and skips.in_a_row == [0, 1]
