"""Targeted HSV (Table 6) on real IHC and on painted dyes: stained pixels move, the other stain, stroma and glass do not."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data
import tifffile
from skimage import color

from mlseg_core.config import read_yaml
from mlseg_dist.augment import draw_parameters
from mlseg_dist.augment.cpu import shift_stains, stain_weight
from mlseg_dist.augment.parameters import StainShift
from mlseg_dist.augment.policy import named
from shards.phantom.canvas import UNIT, Canvas
from shards.phantom.catalog import SEEN
from shards.phantom.draw import STROMA_OD
from shards.phantom.stain import scan, transmitted, vectors
from tests.mlseg_dist.augment.scene import CONFIGS, policy

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
    stains = (shift("brown", 35.0, -30.0), replace(shift("blue", -25.0, 40.0), dark=(180.0, 220.0)))
    hsv = hsv_of(image)
    hue, saturation, value = np.moveaxis(hsv, -1, 0)
    for stain in stains:
        low, high = stain.hue
        beyond = np.maximum(np.maximum(low - hue, hue - high), 0)
        weight = np.clip(1 - beyond / stain.soft, 0, 1) * np.clip(
            (hsv[..., 1] - stain.none) / (stain.full - stain.none), 0, 1
        )
        if stain.dark:
            weight = np.minimum(weight, np.clip((stain.dark[1] - hsv[..., 2]) / (stain.dark[1] - stain.dark[0]), 0, 1))
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


def tightened() -> dict[str, StainShift]:
    """The windows of configs/augment/table8.yaml."""
    tree = named(read_yaml(CONFIGS / "augment/table8.yaml"), "table8.yaml")
    (op,) = policy(*tree["policies"]["targeted-hsv"])
    return {name: stain.shift(0, 0) for name, stain in op.stains.items()}


@pytest.fixture(scope="module")
def painted() -> tuple[Canvas, dict[str, np.ndarray]]:
    """160 µm of stroma with blue and brown nuclei and a dark grey fold, glass below; and where each lies."""
    canvas = Canvas.blank(160.0, 0.5)
    canvas.matrix[:260] = round(STROMA_OD * UNIT)
    places = np.array([(x, y) for y in range(15, 115, 25) for x in range(15, 150, 25)], float)
    half = np.full((len(places), 2), 5.0)
    is_brown = np.arange(len(places)) % 3 == 0
    dyes = {"brown": canvas.chromogen, "blue": canvas.counterstain}
    for name, chosen, amount in (("brown", is_brown, 1.2), ("blue", ~is_brown, 0.75)):
        canvas.ellipses(dyes[name], places[chosen], half[chosen], np.zeros(chosen.sum()), np.full(chosen.sum(), amount))
    shown = {name: layer > 30 for name, layer in dyes.items()}
    near = cv2.dilate((shown["brown"] | shown["blue"]).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    shown |= {"stroma": (canvas.matrix > 0) & ~near, "glass": (canvas.matrix == 0) & ~near}
    shown["glass"][:270] = False  # beyond the blur of the tissue's edge
    return canvas, shown


@pytest.mark.parametrize("scanner", SEEN["scanner"])
@pytest.mark.parametrize("lab", ["DS1", "DS2"])
def test_table_8_hits_nuclei_and_spares_stroma_and_glass(painted, scanner, lab):
    canvas, shown = painted
    light = transmitted(canvas, vectors("Ki67", lab), np.ones((8, 8), np.float32), np.ones(canvas.shape))
    image = scan(np.random.default_rng(1), light, scanner, canvas.mpp)
    hit = {name: stain_weight(image, stain) >= 0.5 for name, stain in tightened().items()}
    for stain, least in (("brown", 0.6), ("blue", 0.8)):
        assert hit[stain][shown[stain]].mean() > least, f"{stain} nuclei are found"
        assert hit[stain][shown["stroma"]].mean() < 0.02, f"stroma is no {stain}"
        assert not hit[stain][shown["glass"]].any()
    assert not hit["brown"][shown["blue"]].any() and hit["blue"][shown["brown"]].mean() < 0.2


def test_table_8_spares_dark_dirt_and_the_cytoplasm_of_a_membrane_stain():
    dirt = np.repeat(np.arange(10, 120, dtype=np.uint8)[:, None, None], 3, 2)
    tissue = skimage.data.immunohistochemistry()
    for name, stain in tightened().items():
        assert not stain_weight(dirt, stain).any(), "greys are no stain, however dark"
        assert 0.01 < (stain_weight(tissue, stain) >= 0.5).mean() < 0.06, name
    brown = replace(tightened()["brown"], dark=None)
    assert (stain_weight(tissue, brown) >= 0.5).mean() > 0.5, "by hue and S alone it is half of the picture"


def test_pixels_brighter_than_the_window_stay_bit_for_bit():
    image = tissue("skimage")
    dark = replace(shift("brown", 30.0, 40.0), dark=(100.0, 130.0))
    change = np.abs(shift_stains(image, (dark,)).astype(int) - image).max(-1)
    assert change[image.max(-1) >= 130].max() == 0
    whole = np.abs(shift_stains(image, (replace(dark, dark=None),)).astype(int) - image).max(-1)
    darkest = image.max(-1) <= 100
    assert np.array_equal(change[darkest], whole[darkest]) and change[darkest].max() > 0


def test_a_stain_without_a_window_of_v_is_written_as_before_there_was_one():
    """Runs made before keep their fingerprints, and their frozen code reads what is written."""
    before = {"hue", "soft", "stained", "saturation", "value", "p"}
    assert all(set(stain.model_dump()) == before for stain in STAINS.values())
    raw = STAINS["blue"].model_dump() | {"dark": (180, 200)}
    (op,) = policy({"op": "targeted_hsv", "stains": {"blue": raw}})
    assert op.stains["blue"].model_dump() == raw and op.stains["blue"].shift(1, 2).dark == (180, 200)
    with pytest.raises(ValueError, match="fully stained up to, unstained from"):
        policy({"op": "targeted_hsv", "stains": {"blue": raw | {"dark": (200, 200)}}})
