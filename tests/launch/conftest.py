"""A campaign small enough to plan in an instant and to cut in seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from launch.config import CampaignConfig, load_campaign

CLASSES = Path(__file__).parents[2] / "configs" / "classes" / "breast.yaml"


STYLE = {
    "steps": 6,
    "batch": 2,
    "crop_px": 64,
    "channels": [8, 16, 24],
    "blocks": 1,
    "latent": 8,
    "critic_channels": [8, 16, 24],
    "checkpoint_every": 2,
}


def tiny_campaign(folder: Path, styled: bool = False, **changes: Any) -> Path:
    """Write FOLDER/tiny.yaml and return its path; two small slides to learn from, one to validate on.

    styled: the second step has gan_style, so that there are generators to train.
    """
    step = {"epochs": 0.1, "lr": 0.001, "label": {"threshold": 0.5, "min_share_kept": 0.0}}
    encoder = {"name": "custom", "width": 0.25, "depth": 0.25}
    decoder = [16, 16, 8, 8, 8]
    raw = {
        "extends": str(CLASSES),
        "name": "tiny",
        "runs": str(folder / "runs"),
        "phantom": {"size_um": 2000, "mpp": 2, "train": 2, "val": 1, "test": 1, "dev_unseen": 0, "final_unseen": 0},
        "shards": {"high_mpp": 2, "low_mpp": 8, "store_px": 96, "max_per_class": 20},
        "train": {
            "patch_px": 64,
            "quads_per_micro_batch": 1,
            "micro_batches_per_step": 2,
            "warmup_steps": 2,
            "validations": 1,
            "epoch_draws": 64,
            "threads": 1,
            "workers": 1,
        },
        "steps": [
            {
                "name": "base",
                "model": {"kind": "unet", "encoder": encoder, "decoder": {"channels": decoder}},
                "weights": "static",
                **step,
            },
            {
                "name": "master-1",
                "model": {"encoder": encoder, "decoder": {"channels": decoder}, "merge_channels": 16},
                "weights": "dynamic",
                **step,
            },
        ],
        "evaluate": {"splits": ["val", "test"], "pictures": 1},
        "tracking": {"enabled": False},
        "cluster": {"executor": "local", "default": {"workers": 2}, "train": {"nodes": 2}},
    }
    if styled:
        raw["steps"][1]["augment"] = [{"op": "gan_style", "p": 0.5}, {"op": "flip"}]
        raw["style"] = STYLE
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump({**raw, **changes}))
    return path


@pytest.fixture
def make_campaign(tmp_path: Path) -> Callable[..., Path]:
    """Writes a tiny campaign with changed top-level keys, in a folder of its own under tmp_path; returns its file."""

    def make(folder: str = ".", **changes: Any) -> Path:
        (tmp_path / folder).mkdir(exist_ok=True)
        return tiny_campaign(tmp_path / folder, **changes)

    return make


@pytest.fixture
def config_path(tmp_path: Path) -> Path:
    return tiny_campaign(tmp_path)


@pytest.fixture
def config(config_path: Path) -> CampaignConfig:
    return load_campaign(config_path)
