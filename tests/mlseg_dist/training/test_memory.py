"""The largest micro-batch that fits, found under a real limit of memory; FLOPs of a step against a count by hand."""

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from mlseg_core.config import validate
from mlseg_dist.config import LearningConfig, LossConfig, TrainConfig
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.training.engine import World
from mlseg_dist.training.memory import check_fits, does_not_fit, is_out_of_memory, largest_that_fits, trial
from mlseg_dist.training.sharing import shared_by
from mlseg_dist.training.window import known_peak, peak_flops, training_flops
from tests.mlseg_dist.tiny_run import plain_config
from tests.mlseg_dist.training.test_average import munet

ROOT = Path(__file__).parents[3]
QUADS = 8
ROOM = 200 << 20  # bytes beyond what the process has with one quad behind it
LIMITED = """
import json, resource, sys
import torch
from mlseg_core.config import validate
from mlseg_core.errors import UserError
from mlseg_dist.config import LearningConfig, LossConfig, TrainConfig
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.model import build_model, channels_last
from mlseg_dist.training.engine import World
from mlseg_dist.training.memory import advice, check_fits, is_out_of_memory, largest_that_fits, trial
from tests.mlseg_dist.tiny_run import plain_config

torch.set_num_threads(1)
model = build_model(validate(plain_config(), LearningConfig, "test").steps[1].model, 4, 0.1, seed=5)
channels_last(model)
model.train()
loss = SegmentationLoss(LossConfig(), "static")
quads = int(sys.argv[1])
train = TrainConfig(patch_px=128, precision="fp32", quads_per_micro_batch=quads, micro_batches_per_step=1)
world = World(0, 1, torch.device("cpu"))
attempt = trial(model, loss, train, world.device)
attempt(1)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
found = {"calls": {}}
resource.setrlimit(resource.RLIMIT_AS, (used + int(sys.argv[2]), resource.RLIM_INFINITY))

def counted(n):
    found["calls"][n] = "out of memory"
    attempt(n)
    found["calls"][n] = "fits"

found["largest"] = largest_that_fits(counted, quads)
try:
    check_fits(model, loss, train, world)
except UserError as error:
    found["refused"] = str(error)
try:
    attempt(quads)
except RuntimeError as error:
    found["error"], found["recognised"] = str(error), is_out_of_memory(error)
    found["advice"] = str(advice(model, loss, train, world))
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def limited():
    """What a process with a limited address space reports of a small m-UNet."""
    command = [sys.executable, "-c", LIMITED, str(QUADS), str(ROOM)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    if done.returncode == -signal.SIGSEGV and Version(torch.__version__) < Version("2.12"):
        pytest.skip("oneDNN in torch 2.11 crashes where a CPU's memory is short")
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_the_largest_micro_batch_under_a_real_limit_is_found(limited):
    calls = {int(quads): result for quads, result in limited["calls"].items()}
    assert calls[QUADS] == "out of memory" == calls[limited["largest"] + 1]
    assert calls[limited["largest"]] == "fits"
    assert 1 <= limited["largest"] < QUADS


def test_a_real_error_is_recognised_and_answered_with_advice(limited):
    assert limited["recognised"], limited["error"]
    for text in (limited["refused"], limited["advice"]):
        assert text.startswith(
            f"train.quads_per_micro_batch: a micro-batch of {4 * QUADS} samples of 128 px does not fit on"
        )
        assert f"which keeps {4 * QUADS} samples a step" in text


@pytest.mark.parametrize(("quads", "bound"), [(1, 0), (1, 1), (8, 8), (7, 3), (200, 57), (16, 0)])
def test_the_search_ends_at_the_bound_in_few_attempts(quads, bound):
    tried = []

    def attempt(n):
        tried.append(n)
        if n > bound:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")

    assert largest_that_fits(attempt, quads) == min(quads, bound)
    assert tried[0] == quads and len(tried) <= 1 + quads.bit_length()
    assert len(set(tried)) == len(tried)


def test_other_errors_are_not_taken_for_memory():
    def attempt(n):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_that_fits(attempt, 4)
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


@given(st.integers(1, 12), st.integers(1, 4), st.sampled_from([1, 2, 3, 4]), st.data())
def test_advice_keeps_the_samples_of_a_step_and_suits_the_world(quads, each, ranks, data):
    fits = data.draw(st.integers(0, quads - 1))
    train = TrainConfig(quads_per_micro_batch=quads, micro_batches_per_step=each * ranks)
    text = str(does_not_fit(train, "micro-batch", fits, World(0, ranks, torch.device("cpu"))))
    if fits == 0:
        assert "Not even" in text
        return
    numbers = re.search(r"quads_per_micro_batch=(\d+) and train.micro_batches_per_step=(\d+)", text)
    advised, micro_batches = map(int, numbers.groups())
    assert advised <= fits and micro_batches % ranks == 0
    assert advised * micro_batches == quads * each * ranks


@given(st.integers(1, 12), st.integers(1, 4), st.sampled_from([1, 2, 3, 4]), st.data())
def test_advice_for_a_loss_over_the_step_is_more_ranks_or_a_smaller_loss_group(quads, each, ranks, data):
    train, step = (
        TrainConfig(quads_per_micro_batch=quads, micro_batches_per_step=each * ranks),
        LossConfig(group="step"),
    )
    shared = shared_by(train, step, ranks)
    fits = data.draw(st.integers(1, shared.quads_per_micro_batch))
    if fits == shared.quads_per_micro_batch:
        return
    text = str(does_not_fit(shared, "step", fits, World(0, ranks, torch.device("cpu"))))
    more = int(re.search(r"use (\d+) ranks", text).group(1))
    assert more > ranks and shared_by(train, step, more).quads_per_micro_batch <= fits
    advised, micro_batches = map(
        int, re.search(r"quads_per_micro_batch=(\d+) and train.micro_batches_per_step=(\d+)", text).groups()
    )
    assert "loss.group=micro-batch" in text and advised <= fits and micro_batches % ranks == 0
    assert advised * micro_batches == train.quads_per_step


def test_trying_leaves_the_model_and_the_generator_as_they_were():
    model = munet()
    before, noise = {n: x.clone() for n, x in model.state_dict().items()}, torch.get_rng_state()
    train = TrainConfig(patch_px=32, precision="bf16", quads_per_micro_batch=1)
    world = World(0, 1, torch.device("cpu"))
    loss = SegmentationLoss(LossConfig(group="step"), "dynamic")
    trial(model, loss, train, world.device)(1)
    check_fits(model, loss, train, world)
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(torch.equal(x, before[n]) for n, x in model.state_dict().items())


def test_flops_of_a_step_are_those_of_its_convolutions():
    """Counted by hooks on the real convolutions: 2 x 3 x outputs x inputs of a kernel."""
    model, total = munet(), 0

    def count(module, _, out):
        nonlocal total
        kernel = module.weight.numel() // module.weight.shape[0]
        total += 6 * out.numel() * kernel

    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert not any(isinstance(m, torch.nn.Linear | torch.nn.ConvTranspose2d) for m in model.modules())
    for module in convolutions:
        module.register_forward_hook(count)
    model.eval()
    model(*torch.zeros(2, 1, 3, 64, 64))
    config = validate(plain_config(), LearningConfig, "test").steps[1].model
    assert training_flops(config, 4, 64) == pytest.approx(total, rel=1e-9)


@pytest.mark.parametrize(
    ("name", "bf16", "fp32"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4e12, 494.7e12),
        ("NVIDIA H100 PCIe", 756e12, 378e12),
        ("NVIDIA A100-SXM4-80GB", 312e12, 156e12),
        ("NVIDIA A10", 125e12, 62.5e12),
        ("NVIDIA L40S", 362.05e12, 183e12),
        ("NVIDIA L4", 121e12, 60e12),
        ("Tesla V100-SXM2-32GB", None, 15.7e12),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None, None),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None, None),
        ("Some other card", None, None),
    ],
)
def test_known_gpus_by_name(name, bf16, fp32):
    assert known_peak(name, "bf16") == bf16
    assert known_peak(name, "fp32") == fp32


def test_a_cpus_peak_is_what_one_says_it_is():
    assert peak_flops(torch.device("cpu"), "fp32") is None
    assert peak_flops(torch.device("cpu"), "fp32", 0.1) == 0.1e12
