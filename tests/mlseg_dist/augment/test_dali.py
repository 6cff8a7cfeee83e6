"""DALI's executor without a GPU: its graph on DALI's CPU operators, against the CPU executor."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("nvidia.dali", reason="NVIDIA DALI is not installed (extra cuda12)")

import torch

from mlseg_core.errors import UserError
from mlseg_dist.augment import Parameters, draw_parameters, kernels
from mlseg_dist.augment.dali import inputs
from mlseg_dist.augment.dali.executor import DaliExecutor
from mlseg_dist.augment.dali.recipe import recipe
from mlseg_dist.augment.parameters import OPS, Emboss, MotionBlur
from tests.mlseg_dist.augment import dali_parity as parity
from tests.mlseg_dist.augment.scene import DISTORTIONS, GEOMETRY, MPP, PATCH, STORED, painted, photographs, policy

TISSUE = photographs()


@pytest.mark.parametrize("op", OPS)
def test_an_op_alone_is_the_cpu_executors(op):
    parity.compare(policy(op), TISSUE, parity.limits_of({op}, parity.CPU, parity.CPU_OF_OP), None)


@pytest.mark.parametrize("step", parity.STEPS)
def test_a_policy_of_table_8_is_the_cpu_executors(step):
    ops = parity.table_8(step)
    limits = parity.limits_of({op.op for op in ops}, parity.CPU, parity.CPU_OF_OP)
    parity.compare(ops, TISSUE, limits, None, draws=8)


@pytest.mark.parametrize("ops", [*((name,) for name in GEOMETRY), DISTORTIONS, GEOMETRY], ids="+".join)
def test_landmarks_lie_where_the_cpu_executor_puts_them(ops):
    assert parity.check_landmarks(None, painted(), policy(*ops)) >= 12


@pytest.mark.parametrize("ops", [("rotate",), DISTORTIONS], ids="+".join)
def test_beyond_the_stored_field_images_are_reflected_and_labels_255(ops):
    away = policy(*ops, {"op": "rescale", "zoom": [0.4, 0.5]}, {"op": "xy_jitter", "um": [30.0, 90.0]})
    parity.compare(away, TISSUE, parity.CPU, None)


@pytest.mark.parametrize("ops", [(), ("elastic", "clahe", "targeted_hsv", "gamma", "emboss", "gaussian_noise")])
def test_what_is_not_drawn_changes_nothing_bit_for_bit(ops):
    never = policy(*({"op": op, "p": 1e-9} for op in ops))
    (out,) = parity.by_dali(parity.executor(never, None), TISSUE, [Parameters()])
    part = slice((STORED - PATCH) // 2, (STORED + PATCH) // 2)
    for name in parity.NAMES:
        assert np.array_equal(out[name], getattr(parity.stored(TISSUE), name)[part, part]), name


def test_a_patch_depends_on_its_draw_only():
    """Not on its place in the batch, the batch's size, what ran before or a stream that was left half-way."""
    ops = parity.table_8("master-4")
    run = parity.executor(ops, None)
    draws = [draw_parameters(ops, 1, "m", number) for number in range(6)]
    straight = parity.by_dali(run, TISSUE, draws)
    left = run.stream([[run.prepare(parity.encoded(TISSUE, p))] for p in draws])
    next(left)
    left.close()
    alone = [parity.by_dali(run, TISSUE, [p])[0] for p in reversed(draws)][::-1]
    assert all(np.array_equal(a[name], b[name]) for a, b in zip(straight, alone, strict=True) for name in a)
    assert not np.array_equal(straight[0]["high"], straight[1]["high"])


def test_ops_that_a_policy_never_draws_are_not_in_its_graph():
    some = recipe(policy("rotate", {"op": "clahe", "p": 0.0}, "gamma"), MPP, STORED, PATCH)
    assert set(inputs.sources(some)) == {"jpeg", "label", "box_start", "box_shape", "affine", "gamma", "gamma_scale"}
    assert not some.clahes and some.has_field is False
    assert recipe(policy("glass_blur"), MPP, STORED, PATCH).has_field


def test_two_kernels_are_one():
    p = Parameters(motion_blur=MotionBlur(6.0, 0.7), emboss=Emboss(0.5, 1.0, 2.1))
    image = TISSUE.high.astype(np.float32)
    both = cv2.filter2D(image, -1, inputs.kernel(p, 1.0))
    first = cv2.filter2D(image, -1, kernels.motion_kernel(p.motion_blur, 1.0))
    second = cv2.filter2D(first, -1, kernels.emboss_kernel(p.emboss, 1.0))
    inner = slice(16, -16)
    assert np.abs(both - second)[inner, inner].max() < 1e-2


def test_clahe_is_blended_between_limits_and_exact_where_there_are_few():
    made = recipe(policy({"op": "clahe", "clip": [1.0, 3.0], "tile_um": 64.0}), {"high": 0.5, "low": 2.0}, 768, 512)
    fine, coarse = made.clahes  # tiles of 128 px (high) and of 32 px (low): 4 and 16 of them
    assert (fine.tiles, coarse.tiles) == (4, 16) and made.clahe_tiles == (4, 16)
    assert coarse.limits == tuple(range(4, 13)), "all that a histogram of 1024 pixels can be cut at"
    assert all(kind.limit(kind.clip(limit)) == limit for kind in made.clahes for limit in kind.limits)
    assert len(fine.limits) == 11, "the limit more than doubles"
    for kind in made.clahes:
        row = inputs.clahe_matrix(2.2, kind.tiles, made)[0]
        _, first, last = np.split(row / -row[0], [1, 7])
        assert first[-1] == last[-1] == 0, "each matrix ends with its constant"
        weights = np.append(first[:-1], last[:-1])
        assert weights.sum() == pytest.approx(1)
        assert weights @ kind.limits == pytest.approx(int(2.2 * (512 / kind.tiles) ** 2 / 256))
        assert not inputs.clahe_matrix(None, kind.tiles, made).any()


def test_one_tiling_of_both_views_needs_no_choice():
    ops = policy({"op": "clahe", "tile_um": 4000.0})
    made = recipe(ops, parity.PAPER, STORED, PATCH)
    assert len(made.clahes) == 1 and "clahe_low" not in inputs.sources(made)
    parity.compare(ops, TISSUE, parity.CPU_OF_OP["clahe"], None, draws=2)


def test_one_matrix_blends_table_8s_clahe():
    made = recipe(policy({"op": "clahe", "clip": [1.0, 2.0], "tile_um": 64.0}), {"high": 0.5, "low": 2.0}, 768, 512)
    assert [kind.limits for kind in made.clahes] == [(64, 80, 96, 112, 128), (4, 5, 6, 7, 8)]
    assert all(len(kind.chunks) == 1 for kind in made.clahes)


def test_five_stains_and_windows_that_overlap_are_shifted():
    """More stains than one matrix takes; pixels that belong to two."""
    hues = [(5, 100), (60, 160), (150, 250), (240, 300), (290, 20)]
    ranges = {"stained": [20, 40], "saturation": [-40, 60], "value": [-60, 60]}
    stains = {f"stain {number}": {"hue": hue, **ranges} for number, hue in enumerate(hues)}
    ops = policy({"op": "targeted_hsv", "stains": stains})
    assert [len(group) for group in recipe(ops, MPP, STORED, PATCH).stain_groups] == [4, 1]
    parity.compare(ops, TISSUE, parity.CPU_OF_OP["targeted_hsv"], None)


def test_bright_pixels_are_spared_as_on_the_cpu():
    """Two stains of one pair with windows of V, and one of another pair without."""
    ranges = {"stained": [20, 40], "saturation": [-40, 60], "value": [-60, 60]}
    stains = {
        "blue": {"hue": (190, 290), "dark": [185, 215]},
        "brown": {"hue": (5, 50), "dark": [90, 140]},
        "red": {"hue": (340, 5)},
    }
    ops = policy({"op": "targeted_hsv", "stains": {name: {**stain, **ranges} for name, stain in stains.items()}})
    parity.compare(ops, TISSUE, parity.CPU_OF_OP["targeted_hsv"], None)
    wide = [replace(stain, dark=None) for stain in recipe(ops, MPP, STORED, PATCH).stains]
    assert wide != list(recipe(ops, MPP, STORED, PATCH).stains), "the window is part of the graph"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_the_gpu_executor_says_so():
    with pytest.raises(UserError, match="no CUDA device"):
        DaliExecutor(policy("rotate"), PATCH, STORED, MPP, 2, 0, threads=1)
