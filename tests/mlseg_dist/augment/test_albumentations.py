"""The op `albumentations`: any image-only transform, one draw for both views, the same bits anywhere; loaded when it is used."""

import hashlib
import inspect
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from launch.config import load_campaign
from mlseg_core.config import dump_config, validate
from mlseg_core.errors import UserError
from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.augment.albumentations_ops import apply
from mlseg_dist.augment.cpu import clahe
from mlseg_dist.augment.dali.recipe import recipe
from mlseg_dist.augment.parameters import OPS, Parameters
from mlseg_dist.config import LearningConfig
from tests.mlseg_dist.augment.scene import CONFIGS, MPP, PATCH, STORED, photographs, policy
from tests.mlseg_dist.tiny_run import plain_config

ROOT = Path(__file__).parents[3]
REFUSED = {"FDA", "HistogramMatching", "PixelDistributionAdaptation", "TextImage", "Normalize", "ToFloat", "FromFloat"}
"""They need more than the image, or give no uint8 image."""
SIDE = 48
NOISE = {"op": "albumentations", "transform": "GaussNoise", "params": {"std_range": [0.1, 0.2]}}
FOG = {"op": "albumentations", "transform": "RandomFog", "p": 0.5}
OURS_THEN_FOG = """
import sys
from launch.config import load_campaign
from tests.mlseg_dist.augment.scene import CONFIGS, policy
from tests.mlseg_dist.augment.test_albumentations import digest_of
load_campaign(CONFIGS / "demo.yaml")
digest_of(policy(*{ours}))
assert "albumentations" not in sys.modules, "another op loads it"
print(digest_of(policy(*{theirs})))
assert sys.modules["albumentations.check_version"].opener is None, "importing it asks PyPI for a newer version"
"""


def digest_of(ops) -> str:
    """Of the patches of three draws."""
    found = hashlib.sha256()
    for index in range(3):
        out = augment(photographs(), draw_parameters(ops, 1, "m", index), MPP, PATCH)
        found.update(out.high.tobytes() + out.low.tobytes())
    return found.hexdigest()


def image_only() -> list[str]:
    import albumentations as A

    base = A.ImageOnlyTransform
    return sorted(k for k, v in vars(A).items() if inspect.isclass(v) and issubclass(v, base) and v is not base)


def op_of(name: str) -> dict:
    return {"op": "albumentations", "transform": name}


def images(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), np.uint8)


def test_every_image_only_transform_is_repeated_to_the_bit_and_both_views_get_the_same():
    """Whatever the libraries' own generators stand at, on any thread, whatever was done before."""
    names = [name for name in image_only() if name not in REFUSED]
    assert len(names) > 45
    tissue = cv2.resize(photographs().high, (SIDE, SIDE), interpolation=cv2.INTER_AREA)

    def once(name: str, state: int) -> list[np.ndarray]:
        np.random.seed(state)
        random.seed(state)
        cv2.setRNGSeed(state)
        (op,) = policy(op_of(name))
        drawn = [op.draw(np.random.default_rng(index)) for index in range(2)]
        return [view for one in drawn for view in apply(one, tissue.copy(), tissue.copy())]

    with ThreadPoolExecutor(4) as pool:
        first = dict(zip(names, pool.map(lambda name: once(name, 1), names), strict=True))
        again = dict(zip(names[::-1], pool.map(lambda name: once(name, 2), names[::-1]), strict=True))
    for name in names:
        assert all(np.array_equal(a, b) for a, b in zip(first[name], again[name], strict=True)), name
        assert np.array_equal(first[name][0], first[name][1]), f"{name}: both views get one draw"
        assert first[name][0].dtype == np.uint8 and first[name][0].shape == tissue.shape
    differ = [name for name in names if not np.array_equal(first[name][0], first[name][2])]
    assert len(differ) > 30, "most draw something, and two draws differ"


def test_it_is_loaded_when_a_policy_has_it_and_gives_the_same_in_another_process():
    script = OURS_THEN_FOG.format(ours=[*OPS], theirs=["rotate", NOISE, FOG])
    told = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "5"},
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stderr
    assert told.stdout.split() == [digest_of(policy("rotate", NOISE, FOG))]


def test_each_transform_has_a_stream_of_its_own():
    ops, indices = policy("rotate", NOISE, FOG), range(400)
    drawn = [draw_parameters(ops, 3, "base", index) for index in indices]
    alone = [draw_parameters(policy(FOG), 3, "base", index) for index in indices]
    without = [draw_parameters(policy("rotate"), 3, "base", index) for index in indices]
    assert [p.rotate for p in drawn] == [p.rotate for p in without]
    fogs = [[one for one in p.albumentations if one.transform == "RandomFog"] for p in drawn]
    assert fogs == [list(p.albumentations or ()) for p in alone]
    assert 160 < sum(map(len, fogs)) < 240, "p"
    noises = [p.albumentations[0] for p in drawn]
    assert {one.transform for one in noises} == {"GaussNoise"} and len({one.seed for one in noises}) == len(indices)
    assert draw_parameters(policy(FOG), 3, "base", 0) != draw_parameters(policy(FOG), 3, "master-1", 0)
    assert without[0].albumentations is None


def test_transforms_come_last_in_the_policys_order_and_leave_labels_alone():
    views = photographs()
    ops = policy("rotate", NOISE, op_of("InvertImg"))
    drawn = draw_parameters(ops, 1, "m", 4)
    ours = augment(views, Parameters(rotate=drawn.rotate), MPP, PATCH)
    high, low = ours.high.copy(), ours.low.copy()
    for one in drawn.albumentations:
        high, low = apply(one, high, low)
    out = augment(views, drawn, MPP, PATCH)
    assert np.array_equal(out.high, high) and np.array_equal(out.low, low)
    assert np.array_equal(out.high_label, ours.high_label) and np.array_equal(out.low_label, ours.low_label)
    noisy = augment(views, draw_parameters(policy("rotate", NOISE), 1, "m", 4), MPP, PATCH)
    assert np.array_equal(out.high, 255 - noisy.high) and not np.array_equal(noisy.high, ours.high)


def configured(augment_: object, **train: object) -> LearningConfig:
    raw = plain_config()
    raw["steps"][0]["augment"], raw["train"] = augment_, {**raw["train"], **train}
    return validate(raw, LearningConfig, "test.yaml")


@pytest.mark.parametrize(
    ("op", "said"),
    [
        ({"transform": "RandomFogg"}, "albumentations.transform': albumentations 2.0.8 has no transform RandomFogg; did you mean"),
        ({"transform": "check_version"}, "has no transform check_version"),
        ({"transform": "Rotate"}, "Rotate is not image-only: it may move pixels or change labels"),
        ({"transform": "CoarseDropout"}, "CoarseDropout is not image-only"),
        ({"transform": "Normalize"}, "Normalize makes float32 (32, 32, 3) of a uint8 RGB patch"),
        ({"transform": "FDA"}, "FDA needs more than the image: fda_metadata"),
        ({"transform": "GaussNoise", "params": {"sigma": 3}}, "params': GaussNoise has no parameter 'sigma'; it has std_range,"),
        ({"transform": "GaussNoise", "params": {"p": 1}}, "`p` stands beside `params`"),
        ({"transform": "GaussNoise", "params": {"std_range": [0.1, 3]}}, "GaussNoise: std_range: All values"),
        ({"transform": "GaussNoise", "params": 3}, "albumentations.params"),
        ({"transform": "MedianBlur", "params": {"blur_limit": "wide"}}, "MedianBlur: blur_limit: "),
        ({"transform": "RandomFog", "p": 2}, "less than or equal to 1"),
        ({"params": {}}, "albumentations.transform' is missing"),
        ({"transform": "RandomFog", "strength": 2}, "unknown key 'steps.0.augment.1.albumentations.strength'"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_the_key(op, said):
    with pytest.raises(UserError) as told:
        configured([{"op": "rotate"}, {"op": "albumentations", **op}])
    line = str(told.value)
    assert said in line and line.startswith("test.yaml: ") and "steps.0.augment.1" in line and "\n" not in line


def test_a_transform_comes_once():
    assert len(configured([NOISE, FOG]).steps[0].augment) == 2
    with pytest.raises(UserError, match="op albumentations GaussNoise comes twice"):
        configured([NOISE, FOG, NOISE])


def test_dali_refuses_it_in_one_line():
    with pytest.raises(
        UserError, match=r"train.augment_on: gpu: DALI cannot do albumentations RandomFog of steps.base"
    ):
        configured([FOG], augment_on="gpu")
    assert configured([{**FOG, "p": 0}], augment_on="gpu")
    with pytest.raises(UserError, match=r"DALI cannot do albumentations RandomFog\. Set train\.augment_on=cpu"):
        recipe(policy("rotate", FOG), MPP, STORED, PATCH)


def test_a_saved_config_is_read_back_as_it_is(tmp_path):
    config = load_campaign(CONFIGS / "demo.yaml")
    step = config.steps[0].model_copy(update={"augment": policy("rotate", NOISE, FOG)})
    config = config.model_copy(update={"steps": (step, *config.steps[1:])})
    dump_config(config, tmp_path / "campaign.yaml")
    assert load_campaign(tmp_path / "campaign.yaml").steps[0] == step


def test_parameters_decide():
    weak, strong = ({**NOISE, "params": {"std_range": [std, std]}} for std in (0.01, 0.3))
    image = images(1)
    off = [
        np.abs(
            apply(policy(op)[0].draw(np.random.default_rng(0)), image.copy(), image.copy())[0].astype(int) - image
        ).mean()
        for op in (weak, strong)
    ]
    assert off[0] < 4 and off[1] > 20


@pytest.mark.parametrize("side", [512, 301, 33])
def test_clahe_is_that_of_albumentations_bit_by_bit(side):
    """Runs made when it was called there continue as they began."""
    from albumentations.augmentations.pixel.functional import clahe as theirs

    tissue = cv2.resize(photographs().high, (side, side))
    for image in (tissue, np.random.default_rng(0).integers(0, 256, tissue.shape, np.uint8)):
        for clip, tiles in ((1.0, 1), (1.37, 4), (2.999, 7)):
            assert np.array_equal(clahe(image, clip, tiles), theirs(image, clip, (tiles, tiles)))
