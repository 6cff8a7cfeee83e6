"""Each colour op against a reference written down anew, in float and without OpenCV."""

import numpy as np
import pytest
import skimage.data
from skimage import color

from mlseg_dist.augment import Parameters, augment, draw_parameters
from mlseg_dist.augment.cpu import recolour
from mlseg_dist.augment.parameters import Clahe, Contrast, Jitter
from tests.mlseg_dist.augment.scene import MPP, PATCH, photographs, policy

TISSUE = np.ascontiguousarray(skimage.data.immunohistochemistry()[100:356, 100:356])
LUMA = np.array([0.299, 0.587, 0.114])


def changed(**drawn) -> np.ndarray:
    return recolour(TISSUE, Parameters(**drawn), 1.0)


def assert_levels(got: np.ndarray, reference: np.ndarray, levels: float) -> None:
    """Within `levels` grey levels at every pixel, and on average within a third of it."""
    off = np.abs(got.astype(float) - np.clip(reference, 0, 255))
    assert off.max() <= levels and off.mean() <= max(levels / 3, 0.4), (off.max(), off.mean())


def contrasted(image, factor, pivot):
    return pivot + factor * (image - pivot)


def saturated(image, factor):
    grey = (image @ LUMA)[..., None]
    return grey + factor * (image - grey)


def turned(image, turn):
    """Chroma as a complex number in YIQ (NTSC 1953), turned."""
    yiq = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
    luma, i, q = np.moveaxis(image @ yiq.T, -1, 0)
    chroma = (i + 1j * q) * np.exp(2j * np.pi * turn)
    return np.stack([luma, chroma.real, chroma.imag], -1) @ np.linalg.inv(yiq).T


@pytest.mark.parametrize("factor", [0.6, 0.93, 1.4])
def test_brightness_contrast_and_gamma(factor):
    image = TISSUE.astype(float)
    assert_levels(changed(brightness=factor), image * factor, 1)
    assert_levels(changed(contrast=Contrast(factor, 180.0)), contrasted(image, factor, 180), 1)
    assert_levels(changed(gamma=factor), 255 * (image / 255) ** factor, 0.51)


def test_pca_adds_the_drawn_colour():
    assert_levels(changed(pca=(12.3, -7.8, 3.1)), TISSUE + np.array([12.3, -7.8, 3.1]), 1)


def test_pca_axes_are_those_of_the_tissue():
    pixels = skimage.data.immunohistochemistry().reshape(-1, 3).astype(float)
    values, vectors = np.linalg.eigh(np.cov(pixels.T))
    op = policy("pca")[0]
    assert np.allclose(op.spread, np.sqrt(values[::-1]), atol=0.01)
    assert np.allclose(np.abs(np.array(op.axes) @ vectors[:, ::-1]), np.eye(3), atol=2e-3)


@pytest.mark.parametrize("turn", [-0.4, -0.02, 0.1, 0.5])
def test_colour_jitter_and_heavy_colour(turn):
    jitter = Jitter(0.9, Contrast(1.2, 190.0), 1.3, turn)
    reference = turned(saturated(contrasted(TISSUE * 0.9, 1.2, 190), 1.3), turn)
    assert_levels(changed(colour_jitter=jitter), reference, 2)
    heavy = Jitter(0.9, Contrast(1.2, 190.0), 1.3, turn, (0.8, 1.0, 1.2))
    reference = turned(saturated(contrasted(TISSUE * np.array([0.8, 1.0, 1.2]) * 0.9, 1.2, 190), 1.3), turn)
    assert_levels(changed(heavy_colour=heavy), reference, 2)


def test_a_hue_turn_keeps_luma_and_grey():
    grey = np.repeat(np.arange(256, dtype=np.uint8), 3).reshape(16, 16, 3)
    turn = Parameters(heavy_colour=Jitter(1.0, Contrast(1.0, 200.0), 1.0, 0.3))
    assert np.abs(recolour(grey, turn, 1.0).astype(int) - grey).max() <= 1
    pale = (200 + TISSUE / 255 * 30).astype(np.uint8)  # nothing clips
    out = recolour(pale, turn, 1.0)
    assert np.abs(out @ LUMA - pale @ LUMA).max() < 1.5 and np.abs(out.astype(int) - pale).max() > 5


def test_linear_ops_together_are_one_another_in_order_and_unclipped_in_between():
    drawn = {
        "pca": (10.0, 0.0, -10.0),
        "brightness": 1.3,
        "contrast": Contrast(0.7, 200.0),
        "heavy_colour": Jitter(0.9, Contrast(1.1, 200.0), 0.8, 0.2, (1.1, 1.0, 0.9)),
    }
    image = contrasted((TISSUE + np.array([10.0, 0, -10])) * 1.3, 0.7, 200)
    reference = turned(saturated(contrasted(image * np.array([1.1, 1.0, 0.9]) * 0.9, 1.1, 200), 0.8), 0.2)
    assert_levels(changed(**drawn), reference, 2)


def clahe_by_hand(light: np.ndarray, clip: float, tiles: int) -> np.ndarray:
    """Zuiderveld's CLAHE of a uint8 plane whose side the tiles divide; excess is spread evenly, its rest at even steps."""
    side = len(light) // tiles
    limit = max(1, int(clip * side * side / 256))
    tables = np.zeros((tiles, tiles, 256))
    for row in range(tiles):
        for column in range(tiles):
            tile = light[row * side : (row + 1) * side, column * side : (column + 1) * side]
            counts = np.bincount(tile.ravel(), minlength=256)
            excess = np.maximum(counts - limit, 0).sum()
            counts = np.minimum(counts, limit) + excess // 256
            rest = excess % 256
            if rest:
                counts[np.arange(0, 256, max(256 // rest, 1))[:rest]] += 1
            tables[row, column] = np.cumsum(counts) * 255 / side**2
    at = (np.arange(len(light)) + 0.5) / side - 0.5
    first, part = np.floor(at).astype(int), at - np.floor(at)
    low, high = np.clip(first, 0, tiles - 1), np.clip(first + 1, 0, tiles - 1)
    out = 0
    for rows, down in ((low, 1 - part), (high, part)):
        for columns, across in ((low, 1 - part), (high, part)):
            out = out + tables[rows[:, None], columns[None, :], light] * down[:, None] * across[None, :]
    return out


@pytest.mark.parametrize("clip", [1.0, 2.7])
def test_clahe_of_lightness(clip):
    got = changed(clahe=Clahe(clip, 64.0))
    light = np.rint(color.rgb2lab(TISSUE)[..., 0] * 2.55).astype(np.uint8)
    reference = clahe_by_hand(light, clip, 4)
    off = np.abs(color.rgb2lab(got)[..., 0] * 2.55 - reference)
    assert np.mean(off) < 1.0 and np.quantile(off, 0.99) < 4 and np.abs(reference - light).mean() > 5


def test_clahe_has_tiles_of_the_same_um_in_both_views():
    p = Parameters(clahe=Clahe(2.0, 64.0))
    coarse = recolour(TISSUE, p, 4.0)  # 16 x 16 tiles
    assert not np.array_equal(coarse, recolour(TISSUE, p, 1.0))
    assert np.array_equal(coarse, recolour(TISSUE, Parameters(clahe=Clahe(2.0, 16.0)), 1.0))


@pytest.mark.parametrize(
    "name", ["brightness", "contrast", "gamma", "pca", "colour_jitter", "heavy_colour", "targeted_hsv"]
)
def test_one_colour_draw_for_both_views_and_labels_untouched(name):
    views = photographs()
    same = type(views)(views.high, views.high, views.high_label, views.high_label, views.high_fine)
    plain = augment(same, Parameters(), MPP, PATCH)
    out = augment(same, draw_parameters(policy(name), 1, "m", 5), MPP, PATCH)
    assert np.array_equal(out.high, out.low) and not np.array_equal(out.high, plain.high)
    assert np.array_equal(out.high_label, plain.high_label) and np.array_equal(out.low_label, plain.low_label)
