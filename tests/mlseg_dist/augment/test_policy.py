"""Policies as data: names, lists, mistakes; the six of Table 8; every op of the paper is there and does something."""

import re
import typing
from pathlib import Path

import numpy as np
import pytest
import yaml

from launch.config import load_campaign
from mlseg_core.config import dump_config, validate
from mlseg_core.errors import UserError
from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.augment.parameters import OPS
from mlseg_dist.augment.policy import OpConfig
from mlseg_dist.config import LearningConfig
from tests.mlseg_dist.augment.scene import CONFIGS, GEOMETRY, MPP, PATCH, STORED, photographs, policy
from tests.mlseg_dist.tiny_run import plain_config

NAMES = {"basic": [{"op": "rotate"}, {"op": "flip"}], "more": ["basic", {"op": "shift", "um": [-3, 3], "p": 0.5}]}


def with_policy(augment_: object, policies: dict = NAMES) -> LearningConfig:
    raw = {**plain_config(), "policies": policies}
    raw["steps"][0]["augment"] = augment_
    return validate(raw, LearningConfig, "test.yaml")


def names(ops: tuple[OpConfig, ...]) -> list[str]:
    return [op.op for op in ops]


def test_a_step_names_a_policy_or_gives_a_list():
    assert names(with_policy("more").steps[0].augment) == ["rotate", "flip", "shift"]
    mixed = with_policy(["basic", {"op": "crop"}]).steps[0].augment
    assert names(mixed) == ["rotate", "flip", "crop"] and mixed[2].p == 1
    assert names(with_policy([]).steps[0].augment) == []
    assert names(with_policy("more").steps[1].augment) == ["rotate", "flip"], "the default"


@pytest.mark.parametrize(
    ("augment_", "said"),
    [
        ("mor", "no policy 'mor'"),
        ([{"op": "rotate", "degres": [0, 1]}], "Did you mean 'degrees'"),
        ([{"op": "rotaet"}], "Did you mean 'rotate'"),
        ([{"degrees": [0, 1]}], "steps.0.augment.0.op' is missing"),
        ([{"op": "rotate", "degrees": [1, 0]}], "[least, greatest]"),
        ([{"op": "rotate", "degrees": [1, 2, 3]}], "steps.0.augment.0.rotate.degrees"),
        ([{"op": "rescale", "zoom": [0, 1]}], "greater than 0 (got 0)"),
        ([{"op": "rescale", "p": 1.5}], "less than or equal to 1 (got 1.5)"),
        ([{"op": "shift", "um": ["a", 1]}], "valid number"),
        (["basic", {"op": "rotate"}], "op rotate comes twice"),
        ([{"op": "elastic", "sigma_um": [1, 20]}], "fold"),
        ([{"op": "grid_distortion", "limit": [0.1, 0.6]}], "cross"),
        ([{"op": "optical_distortion", "k": [-0.3, 0.1]}], "fold"),
        ([{"op": "shear", "degrees": [-50, 0]}], "between -45 and 45"),
        ({"rotate": True}, "valid array"),
        (7, "valid array"),
    ],
)
def test_a_mistake_is_one_line_that_names_file_and_key(augment_, said):
    with pytest.raises(UserError) as told:
        with_policy(augment_)
    assert said in str(told.value) and str(told.value).startswith("test.yaml: ") and "\n" not in str(told.value)


def test_circles_and_unknown_names_among_policies():
    with pytest.raises(UserError, match="in a circle at 'a'"):
        with_policy("a", {"a": ["b"], "b": ["a"]})
    with pytest.raises(UserError, match="no policy 'c'"):
        with_policy("a", {"a": ["c"]})


def test_a_saved_config_is_read_back_as_it_is(tmp_path):
    config = load_campaign(CONFIGS / "paper.yaml")
    dump_config(config, tmp_path / "campaign.yaml")
    assert load_campaign(tmp_path / "campaign.yaml") == config


def test_the_six_steps_of_table_8():
    config = load_campaign(CONFIGS / "paper.yaml")
    found = {step.name: set(names(step.augment)) for step in config.steps}
    basic = {"rotate", "flip", "crop", "rescale"}
    noise = {"gaussian_noise", "random_noise"}
    assert found["base"] == basic
    assert found["master-1"] >= basic | noise | {"colour_jitter"}
    assert found["master-2"] >= basic | noise | {"heavy_colour"}
    assert found["master-3"] == found["master-2"] | {"targeted_hsv"}
    assert found["master-4"] == found["master-3"] | {"gan_style"}
    assert [op.p for step in config.steps for op in step.augment if op.op == "gan_style"] == [0.3, 0.3]
    assert found["master-5"] >= basic | noise | {"xy_jitter", "gan_style"} and not found["master-5"] & {
        "heavy_colour",
        "targeted_hsv",
    }
    assert set().union(*found.values()) == {*OPS, "gan_style"}, "every op of the paper is used in some step"


def test_targeted_hsv_shifts_as_table_6_says():
    config = load_campaign(CONFIGS / "paper.yaml")
    op = next(op for op in config.steps[3].augment if op.op == "targeted_hsv")
    ranges = {name: (stain.saturation, stain.value) for name, stain in op.stains.items()}
    assert ranges == {"brown": ((-30, 80), (-80, 80)), "blue": ((-40, 60), (-60, 60))}


def test_every_config_in_the_folder_is_read():
    for path in CONFIGS.glob("*.yaml"):
        if "steps" in yaml.safe_load(path.read_text()) and path.name != "small.yaml":
            assert all(step.augment for step in load_campaign(path).steps), path


def test_the_page_lists_every_op_with_its_keys():
    page = (CONFIGS.parent / "docs" / "augmentation.md").read_text()
    rows = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    union, _ = typing.get_args(OpConfig)
    models = {typing.get_args(model.model_fields["op"].annotation)[0]: model for model in typing.get_args(union)}
    assert rows.keys() == models.keys() == {*OPS, "gan_style", "albumentations"}
    for name, model in models.items():
        keys = {*model.model_fields} - {"op", "p"}
        assert keys <= set(re.findall(r"`(\w+)", rows[name].split("|")[3])), name
        for key in keys & {*re.findall(r"`(\w+):", rows[name])}:
            told = re.search(rf"`{key}: ([^`]*)`", rows[name])[1]
            default = model.model_fields[key].default
            assert yaml.safe_load(told) == (list(default) if isinstance(default, tuple) else default), (name, key)


@pytest.mark.parametrize("name", OPS)
def test_every_op_changes_the_picture_and_only_geometry_the_labels(name):
    views = photographs()
    plain = augment(views, draw_parameters((), 0, "m", 0), MPP, PATCH)
    strong = {"gaussian_blur": {"sigma_um": [5, 7]}, "motion_blur": {"length_um": [20, 20]}, "emboss": {"step_um": 4.0}}
    strong |= {
        "glass_blur": {"radius_um": [6, 6]},
        "grid_distortion": {"limit": [0.3, 0.3]},
        "elastic": {"sigma_um": [8, 8]},
    }
    # lengths fit the test's 1 and 4 µm/px, so that the low view shows them too
    op = policy({"op": name, **strong.get(name, {})})
    outs = [augment(views, draw_parameters(op, 1, "m", draw), MPP, PATCH) for draw in (1, 2)]
    for view in ("high", "low"):
        assert max(np.abs(getattr(out, view).astype(int) - getattr(plain, view)).mean() for out in outs) > 1, view
        same = [np.array_equal(getattr(out, f"{view}_label"), getattr(plain, f"{view}_label")) for out in outs]
        assert not all(same) if name in GEOMETRY else all(same)
    assert not np.array_equal(outs[0].high, outs[1].high), "two draws differ"


@pytest.mark.parametrize(("stored", "patch"), [(STORED, PATCH), (301, 200), (151, 99), (64, 64)])
def test_shapes_and_dtypes(stored, patch):
    views = photographs()
    views = type(views)(
        *(getattr(views, n)[:stored, :stored] for n in ("high", "low", "high_label", "low_label")), views.high_fine
    )
    before = [getattr(views, n).copy() for n in ("high", "low", "high_label", "low_label")]
    for draw in range(4):
        out = augment(views, draw_parameters(policy(*({"op": n, "p": 0.7} for n in OPS)), 1, "m", draw), MPP, patch)
        for view in ("high", "low"):
            image, label = getattr(out, view), getattr(out, f"{view}_label")
            assert image.shape == (patch, patch, 3) and image.dtype == np.uint8 and image.flags.c_contiguous
            assert label.shape == (patch, patch) and label.dtype == np.uint8 and label.flags.c_contiguous
            assert set(np.unique(label)) <= {0, 1, 255}
    after = [getattr(views, n) for n in ("high", "low", "high_label", "low_label")]
    assert all(np.array_equal(x, y) for x, y in zip(before, after, strict=True)), "the stored views are not written to"


@pytest.mark.parametrize(("name", "missing"), [("demo", set()), ("glas", {"gan_style"}), ("paper", set())])
def test_a_campaign_runs_every_op_of_table_8(name, missing):
    """But for GAN style where a corpus has slides of one scanner only."""
    table = _ops_of(CONFIGS / "paper.yaml")
    assert table == {*OPS, "gan_style"}
    assert _ops_of(CONFIGS / f"{name}.yaml") == table - missing


def _ops_of(path: Path) -> set[str]:
    policies = [step.augment for step in load_campaign(path).steps]
    return {op.op for one in policies for op in one}
