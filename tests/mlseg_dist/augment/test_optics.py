"""Blurs, relief and noise against references in float; all lengths are in µm, so the low view sees a quarter in pixels."""

import math

import numpy as np
import pytest
import skimage.data
from scipy import ndimage, stats

from mlseg_dist.augment import Parameters, augment, kernels
from mlseg_dist.augment.cpu import finish
from mlseg_dist.augment.parameters import Emboss, GlassBlur, MotionBlur, Noise
from mlseg_dist.data.views import Views
from tests.mlseg_dist.augment.scene import MPP, PATCH, STORED, photographs

TISSUE = np.ascontiguousarray(skimage.data.immunohistochemistry()[100:356, 100:356])


def shifted(image: np.ndarray, x: float, y: float) -> np.ndarray:
    """The image as seen x, y px further on, bilinear."""
    planes = np.moveaxis(image.astype(float), -1, 0)
    return np.stack([ndimage.shift(plane, (-y, -x), order=1, mode="mirror") for plane in planes], -1)


@pytest.mark.parametrize("mpp", [0.5, 2.0])
def test_gaussian_blur(mpp):
    got = finish(TISSUE, Parameters(gaussian_blur=1.6), mpp, "high")
    reference = ndimage.gaussian_filter(TISSUE.astype(float), (1.6 / mpp, 1.6 / mpp, 0), mode="mirror")
    off = np.abs(got - reference)
    assert off.max() <= 2 and off.mean() < 0.5


def test_blurs_fade_with_the_pixel_size():
    p = Parameters(gaussian_blur=0.4, glass_blur=GlassBlur(1.0, 0.3, 1))
    assert kernels.gaussian_sigma_px(p, 0.5) == pytest.approx(math.hypot(0.4, 0.3) / 0.5)
    assert kernels.gaussian_sigma_px(p, 2.0) == 0, "a quarter of a pixel is invisible"
    assert kernels.motion_kernel(MotionBlur(4.0, 0.0), 0.5).shape == (9, 9)
    assert kernels.motion_kernel(MotionBlur(4.0, 0.0), 2.0).shape == (3, 3)


@pytest.mark.parametrize("angle", [0.0, 0.7, math.pi / 2, 2.5])
@pytest.mark.parametrize("mpp", [0.5, 2.0])
def test_motion_blur_is_the_mean_along_a_line(angle, mpp):
    got = finish(TISSUE, Parameters(motion_blur=MotionBlur(3.0, angle)), mpp, "high")
    steps = np.linspace(-1.5, 1.5, 97) / mpp
    reference = np.mean([shifted(TISSUE, s * math.cos(angle), s * math.sin(angle)) for s in steps], 0)
    off = np.abs(got - reference)[8:-8, 8:-8]
    assert off.max() <= 4 and off.mean() < 0.7


@pytest.mark.parametrize("mpp", [0.5, 2.0])
def test_emboss_adds_what_lies_ahead_less_what_lies_behind(mpp):
    got = finish(TISSUE, Parameters(emboss=Emboss(0.5, 0.5, 0.9)), mpp, "high")
    x, y = 0.5 / mpp * math.cos(0.9), 0.5 / mpp * math.sin(0.9)
    reference = TISSUE + 0.5 * (shifted(TISSUE, x, y) - shifted(TISSUE, -x, -y))
    off = np.abs(got - np.clip(reference, 0, 255))[2:-2, 2:-2]
    assert off.max() <= 1.5 and np.abs(got.astype(int) - TISSUE).mean() > 0.5


def test_glass_takes_pixels_from_within_its_radius_and_leaves_labels():
    views = photographs()
    radius = 3.0
    plain = augment(views, Parameters(), MPP, PATCH)
    out = augment(views, Parameters(glass_blur=GlassBlur(radius, 0.0, 8)), MPP, PATCH)
    for view, mpp in MPP.items():
        reach = 2 * math.ceil(radius / mpp) + 1
        got, whole = getattr(out, view).astype(int), getattr(plain, view)
        inner = slice(4, -4)
        least = ndimage.minimum_filter(whole, (reach, reach, 1))[inner, inner].astype(int)
        most = ndimage.maximum_filter(whole, (reach, reach, 1))[inner, inner].astype(int)
        assert (least - 1 <= got[inner, inner]).all() and (got[inner, inner] <= most + 1).all()
        assert np.abs(got - whole).mean() > 1
        assert np.array_equal(getattr(out, f"{view}_label"), getattr(plain, f"{view}_label"))


def flat(level: int) -> np.ndarray:
    return np.full((512, 512, 3), level, np.uint8)


@pytest.mark.parametrize("sigma", [3.0, 9.0])
@pytest.mark.parametrize("seed", [1, 2**62 + 11])
def test_gaussian_noise_is_normal_with_its_sigma(sigma, seed):
    noise = finish(flat(128), Parameters(gaussian_noise=Noise(sigma, seed)), 0.5, "high") - 128.0
    assert noise.std() == pytest.approx(sigma, rel=0.02) and abs(noise.mean()) < 0.1
    dithered = noise + np.random.default_rng(0).uniform(-0.5, 0.5, noise.shape)
    assert stats.kstest(dithered.ravel()[::37], stats.norm(0, math.hypot(sigma, 12**-0.5)).cdf).statistic < 0.015
    for other in (noise[1:, :, 0] * noise[:-1, :, 0], noise[..., 0] * noise[..., 1]):
        assert abs(other.mean()) / sigma**2 < 0.02, "neighbours and channels are independent"


@pytest.mark.parametrize("level", [20, 100, 215])
def test_random_noise_is_shot_noise(level):
    noise = finish(flat(level), Parameters(random_noise=Noise(8.0, 3)), 0.5, "high") - float(level)
    expected = math.sqrt(8.0**2 * level / 255 + 1 / 12)  # rounding to grey levels
    assert noise.std() == pytest.approx(expected, rel=0.04) and abs(noise.mean()) < 0.1


@pytest.mark.parametrize("name", ["gaussian_noise", "random_noise"])
def test_noise_is_the_same_when_drawn_again_and_another_in_another_draw_or_view(name):
    image = np.full((STORED, STORED, 3), 128, np.uint8)
    label = np.zeros((STORED, STORED), np.uint8)
    views = Views(image, image, label, label, label)
    first, again, other = (augment(views, Parameters(**{name: Noise(6.0, seed)}), MPP, PATCH) for seed in (1, 1, 2))
    assert np.array_equal(first.high, again.high) and np.array_equal(first.low, again.low)
    for x, y in ((first.high, first.low), (first.high, other.high), (first.low, other.low)):
        assert abs(np.corrcoef(x.ravel(), y.ravel())[0, 1]) < 0.02


def test_noise_fills_a_view_larger_than_the_bank():
    image = np.full((1300, 1300, 3), 128, np.uint8)
    assert finish(image, Parameters(gaussian_noise=Noise(6.0, 1)), 0.5, "low").std() == pytest.approx(6, rel=0.03)
