"""What is shown: pairs of the train split spread over classes, stains and scanners; one of them full of stained tissue."""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from mlseg_core.errors import UserError
from mlseg_dist.config import IGNORED, LearningConfig, StepConfig
from mlseg_dist.data.views import Views
from shards.manifest import SlideEntry
from shards.show.pairs import Sample, load
from shards.show.sources import read_corpus

_STAINED = 40
"""Least S of 255 of a pixel that counts as stained tissue."""


@dataclass(frozen=True)
class Sources:
    """views: stored fields with training classes. chosen: which of them the gallery shows. mpp: µm/px of high and low."""

    config: LearningConfig
    views: list[Views]
    chosen: int
    slides: list[SlideEntry]
    mpp: dict[str, float]

    @property
    def policies(self) -> dict[str, StepConfig]:
        """Names of the steps that share a policy, joined -> the first of them."""
        found: list[list[StepConfig]] = []
        for step in self.config.steps:
            same = next((group for group in found if group[0].augment == step.augment), None)
            if same is None:
                found.append([step])
            else:
                same.append(step)
        return {", ".join(step.name for step in group): group[0] for group in found}


def read_sources(config: LearningConfig, folder: Path) -> Sources:
    """Raises UserError: no corpus there, none of its train pairs readable, or one that does not fit the config."""
    corpus = read_corpus(folder)
    stored, patch = corpus.manifest.views["store_px"], config.train.patch_px
    if stored < patch:
        raise UserError(f"the corpus stores {stored:g} px, the config wants {patch}", folder, "Set train.patch_px.")
    unknown = sorted(set(corpus.manifest.classes) - set(config.training_classes))
    if unknown:
        raise UserError(f"no training class for {', '.join(unknown)} of {folder}", "training_classes", "Add them.")
    table = np.full(256, IGNORED, np.uint8)
    for number, name in enumerate(corpus.manifest.classes):
        table[number] = config.training_classes[name]
    samples = [sample for sample in load(corpus)[0] if sample.slide.split == "train"]
    if not samples:
        raise UserError("no pair of the train split could be read", folder, "See: mlseg shards verify.")
    mpp = {view: float(corpus.manifest.views[f"{view}_mpp"]) for view in ("high", "low")}
    stained = [_stained(sample.high) + _stained(sample.low) for sample in samples]
    views = [_views(sample, table) for sample in samples]
    return Sources(config, views, int(np.argmax(stained)), [sample.slide for sample in samples], mpp)


def _views(sample: Sample, table: np.ndarray) -> Views:
    return Views(sample.high, sample.low, table[sample.high_label], table[sample.low_label], sample.high_label)


def _stained(image: np.ndarray) -> float:
    """Share of the image's middle that is stained."""
    edge = len(image) // 6
    middle = np.ascontiguousarray(image[edge:-edge, edge:-edge])
    return float((cv2.cvtColor(middle, cv2.COLOR_RGB2HSV)[..., 1] >= _STAINED).mean())
