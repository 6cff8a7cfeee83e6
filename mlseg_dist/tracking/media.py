"""Example predictions: written by training as plain pictures under media/step-N, read by whoever sends them to W&B."""

import json
import os
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mlseg_core.files import TEMPORARY, fsync_folder, write_atomic
from mlseg_core.own import remove_own
from mlseg_dist.config import CLASSES, IGNORED

CLASS_LABELS = {**dict(enumerate(CLASSES)), IGNORED: "ignored"}
_LAYERS = ("view", "truth", "prediction")
_STEP = re.compile(r"step-(\d+)$")
_KEYS = "examples.json"
_PICTURE = re.compile(rf"\d+-(?:{'|'.join(_LAYERS)})\.png")


@dataclass(frozen=True)
class Example:
    """view: uint8 RGB (H, W, 3). truth, prediction: uint8 classes (H, W), 255 ignored. key: of the pair."""

    key: str
    view: np.ndarray
    truth: np.ndarray
    prediction: np.ndarray


def write_examples(phase: Path, step: int, examples: Sequence[Example]) -> None:
    """media/step-N/I-view.png, I-truth.png, I-prediction.png and examples.json; appears whole. Raises OSError."""
    target = phase / "media" / f"step-{step}"
    temporary = target.parent / f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(4)}"
    temporary.mkdir(parents=True)
    try:
        for place, example in enumerate(examples):
            for layer in _LAYERS:
                picture = getattr(example, layer)
                picture = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
                write_atomic(temporary / f"{place}-{layer}.png", cv2.imencode(".png", picture)[1].tobytes())
        write_atomic(temporary / _KEYS, json.dumps([example.key for example in examples]))
        remove_own(target, _is_ours)
        if target.exists():  # somebody else's files stay there
            for name in sorted(path.name for path in temporary.iterdir()):  # of ours, examples.json is the last
                os.replace(temporary / name, target / name)
        else:
            temporary.rename(target)
        fsync_folder(target.parent)
    finally:
        remove_own(temporary, lambda name: True)  # of this process alone


def read_examples(phase: Path, step: int) -> list[Example]:
    """Those of one validation; none where there are none."""
    folder = phase / "media" / f"step-{step}"
    if not (folder / _KEYS).exists():
        return []
    found = []
    for place, key in enumerate(json.loads((folder / _KEYS).read_text(encoding="utf-8"))):
        layers = [cv2.imread(str(folder / f"{place}-{layer}.png"), cv2.IMREAD_UNCHANGED) for layer in _LAYERS]
        view, truth, prediction = layers
        if view is not None and truth is not None and prediction is not None:
            found.append(Example(key, cv2.cvtColor(view, cv2.COLOR_BGR2RGB), truth, prediction))
    return found


def _is_ours(name: str) -> bool:
    return name == _KEYS or _PICTURE.fullmatch(name) is not None


def drop_later(phase: Path, step: int) -> None:
    """Remove the examples of steps after `step`; they will come again."""
    for folder in (phase / "media").glob("step-*"):
        found = _STEP.match(folder.name)
        if found and int(found[1]) > step:
            remove_own(folder, _is_ours)


def sheet(example: Example) -> np.ndarray:
    """view | truth | prediction side by side, uint8 RGB, classes in the report's colours (W&B chooses its own for masks)."""
    from mlseg_dist.report.overlay import overlay

    gap = np.full((example.view.shape[0], 8, 3), 255, np.uint8)
    drawn = [overlay(example.view, label) for label in (example.truth, example.prediction)]
    return np.concatenate([example.view, gap, drawn[0], gap, drawn[1]], axis=1)
