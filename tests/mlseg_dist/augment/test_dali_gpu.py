"""DALI's executor on a GPU against the CPU executor. `make gpu` runs these; without a CUDA device they are skipped."""

import numpy as np
import pytest

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")

import torch

from mlseg_dist.augment import Parameters, draw_parameters
from mlseg_dist.augment.parameters import OPS
from tests.mlseg_dist.augment import dali_parity as parity
from tests.mlseg_dist.augment.scene import DISTORTIONS, GEOMETRY, PATCH, STORED, painted, photographs, policy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device; where there is one: make gpu"),
]
DEVICE = 0
TISSUE = photographs()


@pytest.mark.parametrize("op", OPS)
def test_an_op_alone_is_the_cpu_executors(op):
    parity.compare(policy(op), TISSUE, parity.limits_of({op}, parity.GPU, parity.GPU_OF_OP), DEVICE)


@pytest.mark.parametrize("step", parity.STEPS)
def test_a_policy_of_table_8_is_the_cpu_executors(step):
    ops = parity.table_8(step)
    limits = parity.limits_of({op.op for op in ops}, parity.GPU, parity.GPU_OF_OP)
    parity.compare(ops, TISSUE, limits, DEVICE, draws=16)


@pytest.mark.parametrize("ops", [*((name,) for name in GEOMETRY), DISTORTIONS, GEOMETRY], ids="+".join)
def test_landmarks_lie_where_the_cpu_executor_puts_them(ops):
    assert parity.check_landmarks(DEVICE, painted(), policy(*ops)) >= 12


@pytest.mark.parametrize("ops", [("rotate",), DISTORTIONS], ids="+".join)
def test_beyond_the_stored_field_images_are_reflected_and_labels_255(ops):
    away = policy(*ops, {"op": "rescale", "zoom": [0.4, 0.5]}, {"op": "xy_jitter", "um": [30.0, 90.0]})
    parity.compare(away, TISSUE, parity.GPU, DEVICE)


def test_decoding_alone_is_near_libjpegs_and_labels_are_bit_for_bit():
    (out,) = parity.by_dali(parity.executor((), DEVICE), TISSUE, [Parameters()])
    part = slice((STORED - PATCH) // 2, (STORED + PATCH) // 2)
    stored = parity.stored(TISSUE)
    for view in ("high", "low"):
        difference = np.abs(out[view].astype(int) - getattr(stored, view)[part, part])
        assert difference.mean() < 0.7 and difference.max() <= 8
        assert np.array_equal(out[f"{view}_label"], getattr(stored, f"{view}_label")[part, part])


def test_the_graph_is_that_of_the_cpu_operators():
    """Same graph, DALI's own CPU operators: what differs is the decoder and experimental.remap."""
    ops = parity.table_8("master-4")
    draws = [draw_parameters(ops, 5, "m", number) for number in range(8)]
    there, here = (parity.by_dali(parity.executor(ops, device), TISSUE, draws) for device in (DEVICE, None))
    for one, other in zip(there, here, strict=True):
        assert np.abs(one["high"].astype(int) - other["high"]).mean() < 1.5
        assert (one["low_label"] != other["low_label"]).mean() < 0.005


def test_patches_lie_on_the_device_and_are_the_same_again():
    ops = parity.table_8("master-4")
    run = parity.executor(ops, DEVICE)
    samples = [run.prepare(parity.encoded(TISSUE, draw_parameters(ops, 1, "m", number))) for number in range(4)]
    (first,), (second,) = list(run.stream([samples])), list(run.stream([samples]))
    assert first.high.device == torch.device("cuda", DEVICE) and first.high_label.shape == (4, PATCH, PATCH)
    for name in parity.NAMES:
        assert torch.equal(getattr(first, name), getattr(second, name)), name
