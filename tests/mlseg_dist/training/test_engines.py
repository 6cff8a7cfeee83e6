"""The same micro-batches on 1, 2 and 4 gloo ranks (accumulation 4, 2, 1), through DeepSpeed and DDP: the same training.

Tolerances are relative to a whole gradient's norm; float32 rounds at 6e-8.
"""

import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from mlseg_dist.training.engine.base import laid_out_as
from tests.mlseg_dist.engine_ranks import SAVED, SCENARIOS, STEPS, network, without_engine

ROOT = Path(__file__).parents[3]
RUNS = [("zero2", 2), ("ddp", 1), ("ddp", 2), ("ddp", 4), ("deepspeed", 1), ("deepspeed", 2), ("zero1", 4)]
"""Engine and ranks; the first two leave the states that the others continue from."""
FORWARD = 5e-6  # a whole forward and backward in float32 against float64; seen: 9e-7
ROUNDING = 3e-7  # the same numbers, added up in another order; seen: 5e-8
REGROUPED = 4e-6  # convolutions of 16, 8 or 4 samples add up their weights' gradients in other orders; seen: 1.1e-6
LAYOUT = 2e-6  # ZeRO keeps weights in plain layout, so the CPU's convolutions add up in another order too; seen: 6e-7


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """(engine, world) -> what each rank reports."""
    found = {}
    states = tmp_path_factory.mktemp("states")
    for engine, world in RUNS:
        folder = tmp_path_factory.mktemp(f"{engine}-{world}")
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
        done = subprocess.run(
            [*start, "-m", "tests.mlseg_dist.engine_ranks", str(folder), engine, str(states)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        assert "Grad strides" not in done.stderr, "gradients in another layout than the buckets: a copy each"
        found[engine, world] = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]
    return found


def far(a, b):
    """|a - b| / |b| over all tensors of two dicts."""
    assert a.keys() == b.keys()
    difference = torch.cat([(a[k].double() - b[k].double()).flatten() for k in b]).norm()
    return float(difference / torch.cat([b[k].double().flatten() for k in b]).norm())


by_run = pytest.mark.parametrize(("engine", "world"), RUNS)
by_scenario = pytest.mark.parametrize("name", SCENARIOS)


@by_scenario
@by_run
def test_gradients_and_losses_are_those_of_one_process_in_float64(runs, engine, world, name):
    expected = without_engine(name)
    for rank, report in enumerate(runs[engine, world]):
        mine = report[name]
        assert len(mine["gradients"]) == len(mine["norms"]) == STEPS
        assert far(mine["gradients"][0], expected["gradient"]) < FORWARD
        assert mine["norms"][0] == pytest.approx(
            sum(float(g.square().sum()) for g in expected["gradient"].values()) ** 0.5
        )
        for (step, number), loss in mine["losses"].items():
            assert number % world == rank
            if step == 0:
                assert loss == pytest.approx(expected["losses"][0 if name == "step" else number], rel=FORWARD)


@by_scenario
@by_run
def test_every_rank_holds_the_same_bits(runs, engine, world, name):
    first, *others = (report[name] for report in runs[engine, world])
    for other in others:
        assert other["norms"] == first["norms"]
        for key, value in first["state"].items():
            assert torch.equal(other["state"][key], value), key


@by_scenario
@by_run
def test_training_does_not_depend_on_ranks_or_engine(runs, engine, world, name):
    """All three steps: losses, gradients, running statistics, and what three steps of Adam make of the parameters.

    With the loss over the whole step, 16 samples on 1 rank, 8 on each of 2 and 4 on each of 4 are the same training.
    """
    alone = runs["deepspeed", 1][0][name]
    mine = runs[engine, world][0][name]
    rounding = REGROUPED if name == "step" else LAYOUT if engine.startswith("zero") else ROUNDING
    assert far(mine["gradients"][0], alone["gradients"][0]) < rounding
    losses = {key: loss for report in runs[engine, world] for key, loss in report[name]["losses"].items()}
    if name == "step":  # each rank tells the loss of all
        assert losses == {
            (s, r): pytest.approx(alone["losses"][s, 0], rel=1e-5) for s in range(STEPS) for r in range(world)
        }
    else:
        assert losses == pytest.approx(alone["losses"], rel=1e-5)
    assert far(mine["state"], alone["state"]) < 1e-5
    for key, value in alone["state"].items():
        # Adam divides by |gradient|: where that is near 0 its rounding shows.
        torch.testing.assert_close(mine["state"][key], value, rtol=1e-4, atol=1e-5, msg=key)
    assert int(mine["state"]["low.1.num_batches_tracked"]) == STEPS


@pytest.mark.parametrize(("engine", "world"), [("deepspeed", 2), ("zero2", 2), ("zero1", 4)])
def test_engines_agree_on_a_loss_over_the_whole_step(runs, engine, world):
    one, other = (runs[name, world][0]["step"] for name in (engine, "ddp"))
    assert far(one["gradients"][0], other["gradients"][0]) < (LAYOUT if engine.startswith("zero") else ROUNDING)
    assert far(one["state"], other["state"]) < 1e-5
    for rank, report in enumerate(runs["ddp", world]):
        loss = report["step"]["losses"][0, rank]
        assert loss == (
            pytest.approx(one["losses"][0, 0], rel=1e-6) if engine.startswith("zero") else one["losses"][0, 0]
        )


@by_run
def test_parameters_of_a_head_of_weight_0_stay_where_they_are(runs, engine, world):
    before = network().state_dict()
    after = runs[engine, world][0]["no low head"]
    for key in ("low_head.0.weight", "low_head.1.weight", "low_head.2.weight", "low_head.2.bias"):
        assert all(gradient[key].eq(0).all() for gradient in after["gradients"])
        assert torch.equal(after["state"][key], before[key])
    assert not torch.equal(after["state"]["low.0.weight"], before["low.0.weight"])


@by_run
def test_the_norm_is_told_before_clipping_and_clips_alike(runs, engine, world):
    alone = runs["ddp", 1][0]["clipped"]
    assert min(alone["norms"]) > 2 * 3.0
    for report in runs[engine, world]:
        assert report["clipped"]["norms"] == pytest.approx(alone["norms"], rel=1e-5)
        assert far(report["clipped"]["end"], alone["end"]) < 1e-5


@pytest.mark.parametrize("how", ["loss", "gradient", "pixel"])
@by_run
def test_a_step_that_is_not_finite_on_one_rank_is_skipped_on_all_and_leaves_every_bit(runs, engine, world, how):
    """The loss infinite with a finite gradient, the gradient alone, or an input (and with it BatchNorm's statistics)."""
    for report in runs[engine, world]:
        found, without = report["skipping"][how], report["skipping"]["None"]
        assert found["taken"] == [False, True, False, True]
        assert found["untouched"] == [True, False, True, False]
        assert [norm for norm, taken in zip(found["norms"], found["taken"], strict=True) if taken] == without["norms"]
        assert not any(math.isfinite(norm) for norm in found["norms"][::2])
        assert without["taken"] == [True, True]
        assert found["end"].keys() == without["end"].keys()
        for name, value in without["end"].items():
            assert torch.equal(found["end"][name], value), name


@by_run
def test_a_state_continues_bitwise_on_the_same_world(runs, engine, world):
    for report in runs[engine, world]:
        ends = report["continuing"]
        for again in (ends["own"], ends["back"]):
            assert again.keys() == ends["whole"].keys()
            for name, value in ends["whole"].items():
                assert torch.equal(again[name], value), name


@pytest.mark.parametrize("origin", SAVED)
@by_run
def test_a_state_continues_with_another_engine_on_other_ranks(runs, engine, world, origin):
    """From ZeRO 2 on two ranks and from DDP on one; parameters, Adam's moments and step counts, statistics, average."""
    if origin not in runs[engine, world][0]["continuing"]:
        assert (engine, world) in RUNS[: len(SAVED)]
        pytest.skip("made before that state")
    for report in runs[engine, world]:
        ends = report["continuing"]
        assert far(ends[origin], ends["whole"]) < 1e-5
        for name, value in ends["whole"].items():
            torch.testing.assert_close(ends[origin][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_ddp_does_without_deepspeed(runs):
    assert not any(report["deepspeed imported"] for world in (1, 2, 4) for report in runs["ddp", world])
    assert runs["deepspeed", 1][0]["deepspeed imported"]


@pytest.mark.parametrize("odd", ["grad", "exp_avg", "exp_avg_sq"])
def test_fused_adam_gets_everything_in_one_layout(odd):
    """What laid_out_as is for: without it fused Adam takes other elements' gradients, silently."""

    def stepped(undo):
        torch.manual_seed(0)
        parameter = nn.Parameter(torch.randn(8, 4, 3, 3).to(memory_format=torch.channels_last))
        adam = torch.optim.Adam([parameter], lr=0.1, fused=True)
        for step in range(2):
            gradient = torch.randn(8, 4, 3, 3)
            state = adam.state[parameter]
            parameter.grad = gradient if odd == "grad" else gradient.to(memory_format=torch.channels_last)
            if step and odd != "grad":
                state[odd] = state[odd].contiguous()
            if undo:
                parameter.grad = laid_out_as(parameter, parameter.grad)
                for name, moment in state.items():
                    state[name] = laid_out_as(parameter, moment)
            adam.step()
        return parameter.detach()

    torch.manual_seed(0)
    expected = nn.Parameter(torch.randn(8, 4, 3, 3))
    adam = torch.optim.Adam([expected], lr=0.1, foreach=False)
    for _ in range(2):
        expected.grad = torch.randn(8, 4, 3, 3)
        adam.step()
    torch.testing.assert_close(stepped(undo=True), expected.detach())
    assert float((stepped(undo=False) - expected.detach()).abs().max()) > 0.01
