"""The arms: networks at a proxy size whose run takes minutes on one core. What is asked of them, written down before."""

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
class Study:
    """reference: the arm that others are compared with. question, hypothesis: written down before the first run."""

    title: str
    question: str
    hypothesis: str
    reference: str
    arms: tuple[Arm, ...]


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
