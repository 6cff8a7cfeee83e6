"""The average is the formula in float64; a skipped step and a look through it leave every bit. On a small m-UNet."""

import copy

import pytest
import torch

from mlseg_core.config import validate
from mlseg_dist.config import LearningConfig
from mlseg_dist.model import build_model, channels_last
from mlseg_dist.training.state.average import Average
from mlseg_dist.training.state.batchnorm import RunningStatistics
from tests.mlseg_dist.tiny_run import plain_config

DECAY = 0.9


def munet():
    model = build_model(validate(plain_config(), LearningConfig, "test").steps[1].model, 4, 0.1, seed=5)
    channels_last(model)
    return model


def views(seed):
    return torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


def bits(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    assert one.keys() == other.keys()
    return all(torch.equal(one[name], other[name]) for name in one)


def train(model, steps, after=lambda: None):
    """A few steps of Adam on random views; BatchNorm's buffers move too."""
    adam = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    for step in range(steps):
        sum(x.square().mean() for x in model(*views(step)).values()).backward()
        adam.step()
        adam.zero_grad()
        after()


def test_the_average_is_the_formula():
    model = munet()
    average = Average(model, DECAY)
    expected = {name: parameter.detach().double() for name, parameter in model.named_parameters()}

    def after():
        average.update(torch.tensor(True))
        for name, parameter in model.named_parameters():
            expected[name] = DECAY * expected[name] + (1 - DECAY) * parameter.detach().double()

    train(model, 6, after)
    for name, value in average.state_dict().items():
        torch.testing.assert_close(value.double(), expected[name], rtol=1e-6, atol=1e-7)
        assert value.stride() == dict(model.named_parameters())[name].stride(), "foreach's fast path wants one layout"
    moved = [not torch.equal(value, model.state_dict()[name]) for name, value in average.state_dict().items()]
    assert all(moved)


def test_a_skipped_step_changes_nothing():
    model = munet()
    average = Average(model, DECAY)
    train(model, 3)
    before = {name: value.clone() for name, value in average.state_dict().items()}
    average.update(torch.tensor(False))
    assert same(before, average.state_dict())
    average.update(torch.tensor(True))
    assert not same(before, average.state_dict())
    first, second = copy.deepcopy(model), munet()
    average.update()  # no verdict: a step like any other
    assert not same(bits(first), bits(second))


def test_in_place_answers_with_the_averages_and_gives_every_bit_back():
    model = munet()
    average = Average(model, DECAY)
    train(model, 4, average.update)
    before = bits(model)
    teacher = munet()
    teacher.load_state_dict(average.weights())
    with torch.no_grad(), average.in_place():
        model.eval()
        inside = model(*views(9))
        assert same(bits(model), teacher.state_dict())
    model.eval(), teacher.eval()
    with torch.no_grad():
        assert all(torch.equal(x, teacher(*views(9))[head]) for head, x in inside.items())
        assert not torch.equal(inside["merged"], model(*views(9))["merged"])
    assert same(bits(model), before)
    with pytest.raises(ZeroDivisionError), average.in_place():
        raise ZeroDivisionError
    assert same(bits(model), before)


@pytest.mark.parametrize("what", ["state_dict", "weights"])
def test_a_state_continues_the_average_bitwise(what):
    whole, resumed = munet(), munet()
    average, again = Average(whole, DECAY), Average(resumed, DECAY)
    train(whole, 2, average.update)
    state, parameters = copy.deepcopy(getattr(average, what)()), copy.deepcopy(whole.state_dict())
    resumed.load_state_dict(parameters)
    again.load_state_dict(state)
    for model, mean in ((whole, average), (resumed, again)):
        train(model, 2, mean.update)
    assert same(average.state_dict(), again.state_dict())
    assert same(average.weights(), again.weights())


def test_from_a_checkpoint_without_an_average_it_starts_at_the_parameters():
    model = munet()
    average = Average(model, DECAY)
    train(model, 2)
    average.load_state_dict({})
    assert same(average.weights(), model.state_dict())


def test_another_networks_average_is_refused():
    with pytest.raises(KeyError):
        Average(munet(), DECAY).load_state_dict({"another": torch.zeros(1)})


def test_without_a_decay_there_is_no_average():
    model = munet()
    average = Average(model, None)
    train(model, 1, average.update)
    before = bits(model)
    with average.in_place():
        assert same(bits(model), before)
    assert average.state_dict() == {}
    assert same(average.weights(), before)
    average.load_state_dict({})


def test_statistics_of_a_skipped_step_leave_every_bit_and_the_next_step_is_as_if_it_had_not_been():
    models = munet(), munet()
    for model, seeds in zip(models, ((1, "skipped", 2), (1, 2)), strict=True):
        statistics = RunningStatistics(model)
        for seed in seeds:
            before = bits(model)
            model(*views(99 if seed == "skipped" else seed))
            statistics.keep()
            statistics.advance(torch.tensor(seed != "skipped"))
            assert same(before, bits(model)) == (seed == "skipped")
    assert same(bits(models[0]), bits(models[1]))
    counts = [value for name, value in models[0].state_dict().items() if name.endswith("num_batches_tracked")]
    assert counts and all(int(count) == 2 for count in counts)


def test_statistics_that_are_not_finite_are_not_kept_though_the_gradient_is():
    model = munet()
    statistics = RunningStatistics(model)
    before = bits(model)
    model(*(torch.full_like(view, 1e30) for view in views(0)))  # the variance overflows
    statistics.keep()
    assert not all(value.isfinite().all() for value in model.state_dict().values())
    statistics.advance(torch.tensor(True))
    assert same(bits(model), before)
