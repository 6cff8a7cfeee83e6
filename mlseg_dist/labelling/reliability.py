"""How often a teacher's labels are right, by view, class and probability: measured on people's labels of the validation split.

Out: counts of codes on labelled pixels, each pixel once, and of codes on tissue that nobody annotated, which tell how common the
classes are there. Both are asked in the very way in which the round labels: fields as stored, test-time augmentation, stride.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mlseg_core.files import fingerprint, publish_first, read_json, temporary_beside, write_json
from mlseg_dist.config import CLASSES, IGNORED, LearningConfig
from mlseg_dist.data import labels
from mlseg_dist.data.accepting import VIEWS, ViewName
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.once import Once, centres_of, scales_of
from mlseg_dist.inference import Predictor
from mlseg_dist.labelling.codes import heads_of_views, on_slide
from mlseg_dist.run_folder import labels_folder, shards_folder, teacher_record
from shards.outside import Outside
from shards.sample import decode_rgb
from shards.seeds import read_seeds
from shards.tar import NO_SEED

FILE = "reliability.json"
COUNT = len(CLASSES)


@dataclass(frozen=True)
class Reliability:
    """Pixels, int64, by view. val: (true class, class said, level). tissue: (class said, level), where nobody annotated.

    A view that the teacher says nothing of has zeros.
    """

    val: dict[ViewName, np.ndarray]
    tissue: dict[ViewName, np.ndarray]

    @classmethod
    def empty(cls) -> "Reliability":
        return cls(
            {view: np.zeros((COUNT, COUNT, labels.LEVELS), np.int64) for view in VIEWS},
            {view: np.zeros((COUNT, labels.LEVELS), np.int64) for view in VIEWS},
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "version": 1,
            "val": {view: self.val[view].tolist() for view in VIEWS},
            "tissue": {view: self.tissue[view].tolist() for view in VIEWS},
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> "Reliability":
        return cls(
            {view: np.array(found["val"][view], np.int64) for view in VIEWS},
            {view: np.array(found["tissue"][view], np.int64) for view in VIEWS},
        )


def reliability_of(config: LearningConfig, step_index: int, run: Path, teacher: Callable[[], Predictor]) -> Reliability:
    """Of a round's teacher: as measured by whoever came first, else measured now. Any worker may call.

    teacher: loads it. Raises UserError, BadPair.
    """
    path = labels_folder(run, step_index + 1) / FILE
    key = fingerprint([teacher_record(run, config.steps[step_index].name)["sha256"], _asked(config, step_index)])
    known = _read(path, key)
    if known is not None:
        return known
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {"key": key, **measure(config, step_index, run, teacher()).to_json()}
    if path.exists():  # another teacher's, of before an edit
        write_json(path, found)
    else:
        temporary = temporary_beside(path)
        write_json(temporary, found)
        publish_first(temporary, path)
    return Reliability.from_json(read_json(path))


def _asked(config: LearningConfig, step_index: int) -> list[Any]:
    """What the counts depend on beside the teacher."""
    settings = config.steps[step_index].label
    return [settings.measured_pairs, settings.stride, settings.tta, config.training_classes]


def _read(path: Path, key: str) -> Reliability | None:
    if not path.exists():
        return None
    found = read_json(path)
    return Reliability.from_json(found) if isinstance(found, dict) and found.get("key") == key else None


def measured(folder: Path) -> Reliability | None:
    """What lies in a round's folder; None where nothing was measured."""
    path = folder / FILE
    return Reliability.from_json(read_json(path)) if path.exists() else None


def measure(config: LearningConfig, step_index: int, run: Path, teacher: Predictor) -> Reliability:
    """Ask the teacher about `label.measured_pairs` pairs of the validation split, and as many of unannotated tissue."""
    settings = config.steps[step_index].label
    corpus = Corpus(shards_folder(run), config.training_classes)
    found = Reliability.empty()
    side, stride = round(corpus.manifest.views["store_px"]), settings.stride
    refs = [corpus.ref(n) for n in _spaced(corpus.numbers("val"), settings.measured_pairs)]
    once = Once(corpus, refs, centres_of(corpus, refs, scales_of(corpus, refs)), side)
    for first in range(0, len(once.refs), settings.batch):
        part = range(first, min(first + settings.batch, len(once.refs)))
        for codes, index in zip(_codes(teacher, [once.images(i) for i in part], stride), part, strict=True):
            for view, said in codes.items():
                truth = once.label(index, view)
                if truth is not None:
                    found.val[view][:] += _against(truth[stride // 2 :: stride, stride // 2 :: stride], said)
    outside = Outside(corpus.manifest)
    unannotated = _unannotated(corpus, settings.measured_pairs)
    for first in range(0, len(unannotated), settings.batch):
        refs = unannotated[first : first + settings.batch]
        pairs = [corpus.read(ref, {"high.jpg", "low.jpg", "json"}) for ref in refs]
        images = [(decode_rgb(pair["high.jpg"]), decode_rgb(pair["low.jpg"])) for pair in pairs]
        for ref, pair, codes in zip(refs, pairs, _codes(teacher, images, stride), strict=True):
            off = outside.of(pair["json"], ref.key, stride)
            for view, said in codes.items():
                found.tissue[view][:] += _counted(on_slide(said, off.get(view)))
    return found


def _spaced(numbers: np.ndarray, most: int) -> list[int]:
    """All of them, or `most`, evenly spaced."""
    if len(numbers) <= most:
        return numbers.tolist()
    places = np.linspace(0, len(numbers) - 1, most).round().astype(int)
    return numbers[places].tolist()


def _unannotated(corpus: Corpus, most: int) -> list[PairRef]:
    """Pairs of the train split whose seed nobody annotated."""
    numbers = corpus.numbers("train")
    seeds = read_seeds(corpus.folder, corpus.manifest)
    return [corpus.ref(number) for number in _spaced(numbers[seeds[numbers] == NO_SEED], most)]


def _codes(
    teacher: Predictor, images: Sequence[tuple[np.ndarray, np.ndarray]], stride: int
) -> list[dict[ViewName, np.ndarray]]:
    """Of each pair, the codes of the views that the teacher has a head for, uint8 (S/stride, S/stride)."""
    high, low = (torch.from_numpy(np.stack([pair[i] for pair in images])) for i in (0, 1))
    with torch.inference_mode():
        answers = {head: labels.encode_batch(p, stride) for head, p in teacher.probabilities(high, low).items()}
    by_view = {view: answers[head].cpu().numpy() for view, head in heads_of_views(answers).items()}
    return [{view: codes[number] for view, codes in by_view.items()} for number in range(len(images))]


def _against(truth: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Labelled pixels by true class, class said and level."""
    known = (truth != IGNORED) & (codes != IGNORED)
    cell = truth[known].astype(np.int64) * (COUNT * labels.LEVELS) + codes[known]
    return np.bincount(cell, minlength=COUNT * COUNT * labels.LEVELS).reshape(COUNT, COUNT, labels.LEVELS)


def _counted(codes: np.ndarray) -> np.ndarray:
    return np.bincount(codes[codes != IGNORED].ravel(), minlength=COUNT * labels.LEVELS).reshape(COUNT, labels.LEVELS)
