"""Targeted HSV (Table 6) on real IHC: stained pixels move, the other stain, stroma and glass do not."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
import tifffile
from skimage import color

from mlseg_dist.augment import draw_parameters
from mlseg_dist.augment.cpu import shift_stains
from mlseg_dist.augment.parameters import StainShift
from tests.mlseg_dist.augment.scene import policy

KI67 = Path(__file__).parents[4] / "shared" / "realdata" / "ihc" / "OS-2-ndpi.ome.tif"
STAINS = policy("targeted_hsv")[0].stains
SURE = {"brown": ((12, 40), 90), "blue": ((205, 270), 45)}
"""Pixels that a person would call stained: hue in degrees, least S; well inside the op's own windows."""


def tissue(name: str) -> np.ndarray:
    if name == "skimage":
        return skimage.data.immunohistochemistry()
    if not KI67.exists():
        pytest.skip(f"no {KI67}: the Ki67 image is not part of the project")
    return np.ascontiguousarray(tifffile.imread(KI67)[:1100, :1100, :3])


def hsv_of(image: np.ndarray) -> np.ndarray:
    """Hue in degrees, S and V of 0 to 255, without OpenCV."""
    return color.rgb2hsv(image) * np.array([360, 255, 255])


def shift(stain: str, saturation: float, value: float) -> StainShift:
    chosen = STAINS[stain]
    return StainShift(chosen.hue, chosen.soft, *chosen.stained, saturation, value)


def regions(image: np.ndarray) -> dict[str, np.ndarray]:
    hue, saturation, value = np.moveaxis(hsv_of(image), -1, 0)
    found = {
        stain: (window[0] <= hue) & (hue <= window[1]) & (saturation >= least)
        for stain, (window, least) in SURE.items()
    }
    found["background"] = (saturation < 15) & (value > 200)
    for name, mask in found.items():
        assert mask.mean() > 0.005, f"the picture shows {name}"
    return found


@pytest.mark.parametrize("picture", ["skimage", "ki67"])
@pytest.mark.parametrize(("stain", "other"), [("brown", "blue"), ("blue", "brown")])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_stain_moves_and_nothing_else(picture, stain, other, sign):
    image = tissue(picture)
    found = regions(image)
    moved = shift_stains(image, (shift(stain, 30.0 * sign, 40.0 * sign),))
    change = np.abs(moved.astype(int) - image).max(-1)
    assert np.median(change[found[stain]]) > 15
    for still in (other, "background"):
        assert change[found[still]].max() == 0, f"{still} stays bit for bit"
    _, saturation, value = np.moveaxis(hsv_of(image), -1, 0)
    outside = (saturation < STAINS[stain].stained[0] - 2) & (value > 30)
    assert change[outside].max() == 0, "unstained pixels of any hue stay"


@pytest.mark.parametrize("stain", ["brown", "blue"])
def test_the_shift_is_what_was_drawn(stain):
    image = tissue("skimage")
    found = regions(image)[stain]
    before = hsv_of(image)[found]
    after = hsv_of(shift_stains(image, (shift(stain, -20.0, 25.0),)))[found]
    unclipped = (before[:, 2] < 225) & (before[:, 2] > 30)
    assert np.abs(np.median((after - before)[unclipped, 1]) + 20) < 2
    assert np.abs(np.median((after - before)[unclipped, 2]) - 25) < 1
    turn = (after - before)[unclipped, 0]
    assert np.quantile(np.abs((turn + 180) % 360 - 180), 0.95) < 4, "hue stays"


def test_against_a_reference_in_float():
    image = tissue("skimage")
    stains = (shift("brown", 35.0, -30.0), shift("blue", -25.0, 40.0))
    hsv = hsv_of(image)
    hue, saturation, value = np.moveaxis(hsv, -1, 0)
    for stain in stains:
        low, high = stain.hue
        beyond = np.maximum(np.maximum(low - hue, hue - high), 0)
        weight = np.clip(1 - beyond / stain.soft, 0, 1) * np.clip(
            (hsv[..., 1] - stain.none) / (stain.full - stain.none), 0, 1
        )
        saturation = np.clip(saturation + weight * stain.saturation, 0, 255)
        value = np.clip(value + weight * stain.value, 0, 255)
    reference = color.hsv2rgb(np.stack([hue / 360, saturation / 255, value / 255], -1)) * 255
    off = np.abs(shift_stains(image, stains) - reference)
    assert np.quantile(off, 0.99) <= 4 and off.mean() < 0.7  # hue comes in steps of 1.4 degrees


def test_a_window_may_go_across_red():
    red = np.full((4, 4, 3), (200, 60, 70), np.uint8)  # 355 degrees
    around = StainShift((340.0, 20.0), 0.0, 20.0, 30.0, 0.0, -50.0)
    assert shift_stains(red, (around,))[0, 0].max() == 150
    beside = StainShift((20.0, 340.0), 0.0, 20.0, 30.0, 0.0, -50.0)
    assert np.array_equal(shift_stains(red, (beside,)), red)


def test_both_stains_draw_apart_and_may_stay_away():
    halves = policy(
        {
            "op": "targeted_hsv",
            "stains": {name: {**STAINS[name].model_dump(), "p": 0.5} for name in ("brown", "blue")},
        }
    )
    counts = np.bincount([len(draw_parameters(halves, 1, "m", i).targeted_hsv) for i in range(2000)], minlength=3)
    assert np.abs(counts / 2000 - [0.25, 0.5, 0.25]).max() < 0.04
