"""The constant tables of DALI's graph against OpenCV and against each other; windows of noise against the CPU executor's."""

import cv2
import numpy as np
import pytest
import torch

from mlseg_dist.augment import bank
from mlseg_dist.augment.dali import tables
from mlseg_dist.augment.dali.executor import Windows

COLOURS = np.random.default_rng(0).integers(0, 256, (1, 1 << 18, 3)).astype(np.uint8)


def test_lightness_is_opencvs_bit_for_bit():
    steps = np.rint(tables.light_steps()[COLOURS] @ tables.LUMINANCE[:3] + tables.LUMINANCE[3]).astype(int)
    assert np.array_equal(tables.lightness()[steps], cv2.cvtColor(COLOURS, cv2.COLOR_RGB2LAB)[..., 0])


def test_a_pixel_that_no_stain_shifts_stays_bit_for_bit():
    """Chroma -> S, rounded to a byte -> chroma, for every V and chroma that a pixel may have."""
    value, chroma = np.meshgrid(np.arange(256), np.arange(256))
    value, chroma = value[chroma <= value], chroma[chroma <= value]
    saturation = tables.saturation()[value + 256 * chroma].astype(int)
    assert np.array_equal(tables.chroma()[saturation + 256 * value], chroma)


def test_hue_is_opencvs_within_a_step():
    value = COLOURS.max(-1, keepdims=True)
    below = (value - COLOURS) / np.maximum((value - COLOURS).max(-1, keepdims=True), 1)
    circle = np.rint(below @ tables.CIRCLE[:, :3].T + tables.CIRCLE[:, 3]).astype(int)
    away = tables.hue()[circle[..., 0] + 256 * circle[..., 1]].astype(int)
    away -= cv2.cvtColor(COLOURS, cv2.COLOR_RGB2HSV_FULL)[..., 0]
    assert np.abs((away + 128) % 256 - 128).max() <= 1
    greys = np.full(2, 128)
    assert not tables.hue()[greys + 256 * greys].any()


def test_the_way_to_cielab_and_back_changes_no_colour():
    light = np.rint(tables.light()[COLOURS] @ tables.XYZ.T).astype(int)
    tall = tables.cubes()[tables.roots()[light]]
    back = np.linalg.inv(tables.XYZ) * tables.LIGHT / tables.TALL
    there = tables.grey()[np.clip(np.rint(tall @ back.T), 0, 65535).astype(int)].astype(int)
    assert np.abs(there - COLOURS).max() <= 1 and (there != COLOURS).mean() < 1e-4


@pytest.mark.parametrize("side", [64, 1200])  # a window of 1200 px is longer than the bank
def test_one_gather_cuts_the_windows_that_the_cpu_executor_takes(side):
    seeds = [(7, "high"), (7, "low"), (8, "high")]
    windows = Windows(["normals"], side, torch.device("cpu"))
    gathered = windows.gather("normals", [bank.begin(side * side * 3, *seed) for seed in seeds])
    for one, seed in zip(gathered, seeds, strict=True):
        assert np.array_equal(one, bank.window(bank.normals(), (side, side, 3), *seed))
