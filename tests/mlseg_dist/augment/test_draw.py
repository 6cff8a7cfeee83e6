"""Draws: a pure function of seed, phase and index; ranges and probabilities as the policy says."""

import math

import numpy as np
import pytest
from scipy import stats

from mlseg_dist.augment import draw_parameters
from mlseg_dist.augment.parameters import OPS
from tests.mlseg_dist.augment.scene import policy

EVERY = policy(*OPS)
SEEDS = ("elastic", "grid_distortion", "glass_blur", "gaussian_noise", "random_noise")
DRAWS = 10_000
P = 0.37


def test_a_draw_is_a_pure_function_of_seed_phase_and_index():
    a = draw_parameters(EVERY, 3, "base", 7)
    assert a == draw_parameters(EVERY, 3, "base", 7)
    others = [draw_parameters(EVERY, *key) for key in ((3, "base", 8), (4, "base", 7), (3, "master-1", 7))]
    for name in OPS:
        drawn = [getattr(p, name) for p in (a, *others)]
        assert None not in drawn
        if name != "flip":  # four outcomes only
            assert len(set(drawn)) == 4, name


def test_an_op_added_or_removed_changes_no_other():
    whole = draw_parameters(EVERY, 3, "base", 7)
    for name in OPS:
        rest = draw_parameters(tuple(op for op in EVERY[::-1] if op.op != name), 3, "base", 7)
        assert getattr(rest, name) is None
        assert all(getattr(rest, other) == getattr(whole, other) for other in OPS if other != name)


def test_the_draw_of_today_is_the_draw_of_tomorrow():
    """A resumed run must see what was seen before: these numbers may change only with a recipe_version."""
    p = draw_parameters(policy("rotate", "rescale", "colour_jitter"), 1, "base", 12)
    assert (p.rotate, p.rescale) == pytest.approx((1.7252514140521775, 0.9569225832807776), abs=1e-12)
    assert p.colour_jitter.hue == pytest.approx(0.01818404936299046, abs=1e-12)


@pytest.fixture(scope="module")
def drawn():
    ops = policy(*({"op": name, "p": P} for name in OPS))
    return [draw_parameters(ops, 5, "base", index) for index in range(DRAWS)]


def test_probabilities_are_met_and_ops_are_independent(drawn):
    came = np.array([[getattr(p, name) is not None for name in OPS] for p in drawn])
    for column, name in enumerate(OPS):
        counts = [came[:, column].sum(), (~came[:, column]).sum()]
        assert stats.chisquare(counts, [P * DRAWS, (1 - P) * DRAWS]).pvalue > 1e-3, name
    correlation = np.corrcoef(came.T) - np.eye(len(OPS))
    assert np.abs(correlation).max() < 5 / math.sqrt(DRAWS)


def degrees(radians):
    return math.degrees(radians)


RANGES = {  # what of a draw is uniform, from, to
    "rotate": [(degrees, -180, 180)],
    "crop": [(lambda v: v[0], -0.15, 0.15), (lambda v: v[1], -0.15, 0.15)],
    "rescale": [(math.log, math.log(0.9), math.log(1.05))],
    "shift": [(lambda v: v[0], -16, 16), (lambda v: v[1], -16, 16)],
    "shear": [(lambda v: degrees(math.atan(v[0])), -8, 8), (lambda v: degrees(math.atan(v[1])), -8, 8)],
    "xy_jitter": [(lambda v: v[0], -16, 16), (lambda v: v[1], -16, 16)],
    "elastic": [(lambda v: v.cell_um, 40, 80), (lambda v: v.sigma_um, 1, 6)],
    "grid_distortion": [(lambda v: v.cell_um, 48, 96), (lambda v: v.reach_um / v.cell_um, 0.05, 0.2)],
    "optical_distortion": [(lambda v: v.k, -0.1, 0.1)],
    "gaussian_blur": [(float, 0, 0.8)],
    "glass_blur": [(lambda v: v.radius_um, 0.5, 1.5), (lambda v: v.sigma_um, 0.2, 0.4)],
    "motion_blur": [(lambda v: v.length_um, 1, 4), (lambda v: v.angle, 0, math.pi)],
    "emboss": [(lambda v: v.strength, 0.2, 0.6), (lambda v: v.angle, 0, 2 * math.pi)],
    "gaussian_noise": [(lambda v: v.sigma, 0, 8)],
    "random_noise": [(lambda v: v.sigma, 0, 8)],
    "brightness": [(float, 0.85, 1.15)],
    "contrast": [(lambda v: v.factor, 0.85, 1.15)],
    "gamma": [(math.log, math.log(0.8), math.log(1.25))],
    "clahe": [(lambda v: v.clip, 1, 3)],
    "colour_jitter": [
        (lambda v: v.brightness, 0.85, 1.15),
        (lambda v: v.contrast.factor, 0.85, 1.15),
        (lambda v: v.saturation, 0.85, 1.15),
        (lambda v: v.hue, -0.02, 0.02),
    ],
    "heavy_colour": [
        (lambda v: v.brightness, 0.7, 1.3),
        (lambda v: v.contrast.factor, 0.7, 1.3),
        (lambda v: v.saturation, 0.5, 1.5),
        (lambda v: v.hue, -0.5, 0.5),
        (lambda v: v.gain[0], 0.8, 1.2),
        (lambda v: v.gain[2], 0.8, 1.2),
    ],
    "targeted_hsv": [  # Table 6; stains come in the order of their names: blue, brown
        (lambda v: v[0].saturation, -40, 60),
        (lambda v: v[0].value, -60, 60),
        (lambda v: v[1].saturation, -30, 80),
        (lambda v: v[1].value, -80, 80),
    ],
}


@pytest.mark.parametrize("name", RANGES)
def test_ranges_are_met(drawn, name):
    values = [getattr(p, name) for p in drawn if getattr(p, name) is not None]
    for number, (of, low, high) in enumerate(RANGES[name]):
        sample = np.array([of(value) for value in values])
        assert low - 1e-12 <= sample.min() and sample.max() <= high + 1e-12
        assert stats.kstest(sample, stats.uniform(low, high - low).cdf).pvalue > 1e-4, (name, number)


def test_flips_and_pca_are_as_they_should_be(drawn):
    assert set(RANGES) | {"flip", "pca"} == set(OPS), "every op is tested"
    flips = [p.flip for p in drawn if p.flip is not None]
    counts = [flips.count((x, y)) for x in (False, True) for y in (False, True)]
    assert stats.chisquare(counts).pvalue > 1e-3
    axes = np.array(policy("pca")[0].axes)
    along = np.array([p.pca for p in drawn if p.pca is not None]) @ np.linalg.inv(axes)
    for values, spread in zip(along.T, (87.83, 15.52, 2.27), strict=True):
        assert stats.kstest(values, stats.norm(0, 0.1 * spread).cdf).pvalue > 1e-4


@pytest.mark.parametrize("name", SEEDS)
def test_seeds_differ_between_draws(drawn, name):
    seeds = [getattr(p, name).seed for p in drawn if getattr(p, name) is not None]
    assert len(set(seeds)) == len(seeds)
