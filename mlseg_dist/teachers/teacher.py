"""What a teacher is: everything but the weights, as a typed record that a bundle keeps in `teacher.json`. Loads no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from mlseg_core.config import Strict
from mlseg_core.errors import UserError
from mlseg_core.files import sha256_file
from mlseg_dist.config import CLASSES, FACTORS, Count, Fraction, ModelConfig, Positive
from mlseg_dist.sides import check_side
from shards.config import HOLE, IGNORED, ShardsConfig
from shards.manifest import Manifest

SAFETENSORS = ".safetensors"
MEAN, SPREAD = 127.5, 64.0
"""Pixels are normalised to (value - MEAN) / SPREAD (inference.py:normalise)."""
_CATCH_ALL = ("others", "other", "unknown")
"""Fine classes that stand for a whole training class best, after one that has its name."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Views(Strict):
    """What the network sees. high_mpp, low_mpp: µm/px. px: side of both views when whole slides are predicted."""

    high_mpp: Positive
    low_mpp: Positive
    px: Count

    @property
    def ratio(self) -> int:
        """low µm/px over high µm/px."""
        return round(self.low_mpp / self.high_mpp)

    def as_dict(self) -> dict[str, float]:
        """As make_grid takes it."""
        return {"high_mpp": self.high_mpp, "low_mpp": self.low_mpp}


class Operating(Strict):
    """A pixel takes its strongest class where that reaches the threshold, else background.

    temperature: logits divided by it are calibrated; it never changes which class is taken. source: see OperatingPoint.
    """

    threshold: Fraction
    temperature: Positive
    source: str


class Normalisation(Strict):
    """Of uint8 RGB: (value - mean) / spread."""

    mean: float = MEAN
    spread: Positive = SPREAD


class Seen(Strict):
    """Which stains, scanners and sources the train split had."""

    stain: tuple[str, ...]
    scanner: tuple[str, ...]
    source: tuple[str, ...]


class TeacherConfig(Strict):
    """A teacher without its weights.

    corpus_sha256: of the corpus' manifest. weights_sha256: of the weights as the run has them. batch, threads: with which slides
    are predicted; the last bits of answers depend on them. training_classes: fine class -> 0, 1, 2 or 255. shards: how slides are
    audited and annotations read.
    """

    version: Literal[1] = 1
    campaign: str
    step: str
    model: ModelConfig
    views: Views
    operating: Operating
    normalisation: Normalisation = Normalisation()
    precision: Literal["fp32", "bf16"]
    batch: Count
    threads: Annotated[int, Field(ge=0)]
    classes: tuple[str, ...] = CLASSES
    training_classes: dict[str, Literal[0, 1, 2, 255]]
    shards: ShardsConfig
    seen: Seen
    corpus_sha256: Sha256
    weights_sha256: Sha256


@dataclass(frozen=True)
class Teacher:
    """A teacher and where its weights lie. file_sha256: of that file. place: the run folder or bundle, for messages.

    workers: threads that read and decode beside the network.
    """

    config: TeacherConfig
    weights: Path
    file_sha256: str
    place: Path
    workers: int | Literal["auto"] = "auto"

    def check_weights(self) -> None:
        """Raises UserError when the file is missing, is not the one that was published, or cannot be read here."""
        if not self.weights.is_file() or sha256_file(self.weights) != self.file_sha256:
            fix = f"Restore it, or make the teacher of step {self.config.step} again."
            raise UserError("the teacher's weights are missing or damaged", self.weights, fix)
        if self.weights.suffix == SAFETENSORS and find_spec("safetensors") is None:
            fix = "Install it: pip install 'mlseg-tissue[bundle]'."
            raise UserError("reading a bundle needs the package safetensors", self.weights, fix)

    def check_view(self, side: int, where: str) -> None:
        """Raises UserError unless the network takes views of `side` px."""
        check_side(self.config.model, self.config.views.ratio, side, where)

    @property
    def annotation_names(self) -> dict[str, str]:
        """Training class -> the name under which people annotate it (class_names)."""
        return class_names(self.config.shards.annotation_classes, self.config.training_classes)


def class_names(annotation_classes: Mapping[str, str], training_classes: Mapping[str, int]) -> dict[str, str]:
    """Training class -> the annotation name that reads back as it: what a corrected map returns under.

    That of a fine class which is named like the training class; else of one that stands for all of it (`unknown`); else the first.
    A class that no annotation has keeps its own name.
    """
    found = {}
    for number, wanted in enumerate(CLASSES):
        names = [
            (name, fine)
            for name, fine in annotation_classes.items()
            if fine not in (HOLE, IGNORED) and training_classes.get(fine) == number
        ]
        same = [name for name, fine in names if wanted in (fine.casefold(), name.casefold())]
        rest = [name for catch_all in _CATCH_ALL for name, fine in names if fine.casefold() == catch_all]
        found[wanted] = next(iter([*same, *rest, *(name for name, _ in names)]), wanted)
    return found


def seen_domains(corpus: Manifest) -> Seen:
    """Of the train slides that gave samples."""
    taught = [slide for slide in corpus.slides if slide.split == "train" and not slide.quarantined]
    return Seen(**{factor: tuple(sorted({getattr(slide, factor) for slide in taught})) for factor in FACTORS})


def never_seen(seen: Seen, given: Mapping[str, str]) -> list[str]:
    """Sentences for people: which of a slide's stain and scanner the network never saw. given: factor -> value, "" unknown."""
    said = []
    for factor in ("stain", "scanner"):
        known: Sequence[str] = getattr(seen, factor)
        value = given.get(factor, "")
        if value and value not in known:
            said.append(f"The network never saw {factor} {value!r}, only {', '.join(known) or 'none'}.")
    return said


def plain(config: TeacherConfig) -> dict[str, Any]:
    """As JSON values."""
    return config.model_dump(mode="json")
