"""The arms: networks at a proxy size whose run takes minutes on one core. What is asked of them, and of which material,
written down before."""

from dataclasses import dataclass
from typing import Any

ENCODER = {"name": "custom", "width": 0.35, "depth": 0.34, "drop_connect": 0.0}
CHANNELS = [48, 32, 24, 16, 8]
PLAIN = {"kind": "plain", "channels": CHANNELS, "stride": 1}
MUNET = {"kind": "munet", "encoder": ENCODER, "decoder": PLAIN, "merge": "compress", "merge_channels": 48}


@dataclass(frozen=True)
class Arm:
    """A network under a name. model: as in a campaign's step. differs: what a reader should know."""

    name: str
    model: dict[str, Any]
    differs: str


@dataclass(frozen=True)
class Material:
    """What the arms of a study learn from and are counted on.

    config: campaign file whose classes, views and step `master-1` they follow. held_out: splits that are counted.
    twins: fine classes that look alike close up; the first is trained as tumour, the second as others. validations: in a run.
    """

    config: str
    held_out: tuple[str, ...]
    twins: tuple[str, str]
    validations: int


PHANTOMS = Material("configs/demo.yaml", ("test", "dev-unseen"), ("tumour", "dcis"), 2)
GLANDS = Material("configs/glas.yaml", ("val", "test"), ("malignant_gland", "benign_gland"), 1)
"""One validation, at the end: nothing is chosen by it, so the patients of both splits are held out."""


@dataclass(frozen=True)
class Study:
    """reference: the arm that others are compared with. question, hypothesis, budget: written down before the first run."""

    title: str
    question: str
    hypothesis: str
    reference: str
    arms: tuple[Arm, ...]
    material: Material = PHANTOMS
    budget: str = ""


def _decoder(kind: str, stride: int) -> dict[str, Any]:
    return {**MUNET, "decoder": {"kind": kind, "channels": CHANNELS, "stride": stride}}


MERGES = Study(
    "merge",
    "Which way from the low view into the high branch separates tumour from its look-alike (DCIS)?",
    "The single view is near chance on the look-alike pair, every other arm well above; compress and both are level, "
    "crop is a little worse because it sees only the centre's features, HookNet learns slower from random weights.",
    "compress",
    (
        Arm("compress", {**MUNET, "merge": "compress"}, "whole low field folded onto the bottleneck"),
        Arm("crop", {**MUNET, "merge": "crop"}, "centre of the low map, as HookNet"),
        Arm("both", {**MUNET, "merge": "both"}, "the two side by side"),
        Arm("single view", {**MUNET, "kind": "unet"}, "U-Net on the high view alone"),
        Arm(
            "HookNet",
            {"kind": "hooknet", "hooknet": {"filters": 8, "depth": 4, "padding": "same"}},
            "plain convolutions, almost three times our multiply-adds",
        ),
    ),
)
DECODERS = Study(
    "decoder",
    "Which is the cheapest decoder that loses no accuracy?",
    "Separable and light lose less than .01 mIoU against plain; ending at stride 2 costs nothing that can be measured, "
    "ending at stride 4 costs up to .02 on thin classes.",
    "plain",
    (
        Arm("plain", _decoder("plain", 1), "two 3x3 convolutions a stage"),
        Arm("separable", _decoder("separable", 1), "depthwise + 1x1 in their place"),
        Arm("light", _decoder("light", 1), "projected, added, one separable convolution"),
        Arm("light, stride 2", _decoder("light", 2), "logits upsampled x2"),
        Arm("light, stride 4", _decoder("light", 4), "logits upsampled x4"),
    ),
)
STUDIES = {study.title: study for study in (MERGES, DECODERS)}
"""On the phantoms."""
GLAS = Study(
    "merge, GlaS",
    "Which way from the low view into the high branch tells malignant glands from benign ones in patients never seen?",
    "Every network of two views beats the single view by .03 mIoU or more, nearly all of it between malignant and benign glands; "
    "the single view is not at chance there (.6 to .8), because nuclei show at .62 µm/px. The three merges lie within .03 of each "
    "other, and every interval over patients between them holds 0. HookNet learns slower and ends below them. Six patients are "
    "too few to say more than that about merges.",
    "both",
    MERGES.arms,
    GLANDS,
    "15 runs, one at a time on one thread, 4,800 draws (300 steps) each; by a trial of 320 draws 3.1 minutes a run of compress, "
    "crop and both, 3.0 of HookNet, 1.7 of the single view, and 0.2 to score it: 5 arms × 3 seeds × 3 minutes = 45 minutes, at "
    "most 75. 1,219 pairs of 6 patients to learn from (the split of the campaign, not GlaS's own, which leaks patients), 1,200 of "
    "6 others to score: 1 of them with both kinds of gland, 3 with malignant and 2 with benign ones only. The low view, 317 µm "
    "wide, sees beyond every tile (480 × 324 µm): 36 % of its pixels, painted as glass and not labelled (255), so what is studied "
    "is less context than a slide would give.",
)
