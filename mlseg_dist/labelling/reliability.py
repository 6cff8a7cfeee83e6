"""How often a teacher's labels are right, by view, class and probability: measured on people's labels of the validation split.

Out: counts of codes on labelled pixels, each pixel once, and of codes on tissue that nobody annotated, which tell how common the
classes are there. Both are asked in the very way in which the round labels: fields as stored, test-time augmentation, stride.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from mlseg_core.files import read_json
from mlseg_dist.config import CLASSES, IGNORED, LearningConfig
from mlseg_dist.data import labels
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.labels import VIEWS, ViewName, heads_of_views, on_slide
from mlseg_dist.data.once import Once, centres_of, scales_of
from mlseg_dist.inference import Predictor
from mlseg_dist.labelling.measured import measured_once, question
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.manifest import read_seeds
from shards.outside import Outside
from shards.sample import decode_rgb
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


class AnyTeachers(Protocol):
    """A round's teacher for each slide: adapting.Teachers."""

    def domain(self, slide: str) -> str:
        """Name of the slides that get the same one."""

    def of(self, domain: str) -> Predictor: ...


def reliability_of(
    config: LearningConfig, step_index: int, run: Path, teachers: Callable[[], AnyTeachers]
) -> Reliability:
    """How reliable a round's teacher is: as the first worker measured it, else measured now. Any worker may call.

    teachers: loads them. Raises UserError, BadPair.
    """
    path, key = labels_folder(run, step_index + 1) / FILE, question(config, step_index, run)

    def content() -> bytes:
        found = {"key": key, **measure(config, step_index, run, teachers()).to_json()}
        return (json.dumps(found, indent=1) + "\n").encode()

    return measured_once(path, lambda: _read(path, key), content)


def _read(path: Path, key: str) -> Reliability | None:
    if not path.exists():
        return None
    found = read_json(path)
    return Reliability.from_json(found) if isinstance(found, dict) and found.get("key") == key else None


def measured(folder: Path) -> Reliability | None:
    """What lies in a round's folder; None where nothing was measured."""
    path = folder / FILE
    return Reliability.from_json(read_json(path)) if path.exists() else None


def measure(
    config: LearningConfig,
    step_index: int,
    run: Path,
    teachers: AnyTeachers,
    counts: Callable[[str], bool] = lambda slide: True,
) -> Reliability:
    """Ask the teachers about `label.measured_pairs` pairs of the validation split, and as many of unannotated tissue.

    counts: whether the tissue of a slide is asked about.
    """
    settings = config.steps[step_index].label
    corpus = Corpus(shards_folder(run), config.training_classes)
    found = Reliability.empty()
    side, stride = round(corpus.manifest.views["store_px"]), settings.stride
    numbers = corpus.numbers("val")
    refs = [corpus.ref(numbers[i]) for i in spaced(len(numbers), settings.measured_pairs)]
    once = Once(corpus, refs, centres_of(corpus, refs, scales_of(corpus, refs)), side)
    for domain, indices in _by_domain(teachers, once.refs).items():
        teacher = teachers.of(domain)
        for first in range(0, len(indices), settings.batch):
            part = indices[first : first + settings.batch]
            for codes, index in zip(_codes(teacher, [once.images(i) for i in part], stride), part, strict=True):
                for view, said in codes.items():
                    truth = once.label(index, view)
                    if truth is not None:
                        found.val[view][:] += _against(truth[stride // 2 :: stride, stride // 2 :: stride], said)
    tissue = [ref for ref in unannotated(corpus) if counts(ref.slide)]
    tissue = [tissue[i] for i in spaced(len(tissue), settings.measured_pairs)]
    for domain, indices in _by_domain(teachers, tissue).items():
        teacher = teachers.of(domain)
        for high, low, off in tissue_batches(corpus, [tissue[i] for i in indices], settings.batch, stride):
            for view, said in _batch_codes(teacher, high, low, stride).items():
                found.tissue[view][:] += _counted(on_slide(said, off[view]))
    return found


def _by_domain(teachers: AnyTeachers, refs: Sequence[PairRef]) -> dict[str, list[int]]:
    """Domain -> indices of its pairs."""
    found: dict[str, list[int]] = {}
    for index, ref in enumerate(refs):
        found.setdefault(teachers.domain(ref.slide), []).append(index)
    return found


def spaced(count: int, most: int) -> list[int]:
    """Indices of all of `count`, or of `most` of them, evenly spaced."""
    if count <= most:
        return list(range(count))
    places: list[int] = np.linspace(0, count - 1, most).round().astype(int).tolist()
    return places


def unannotated(corpus: Corpus) -> list[PairRef]:
    """Pairs of the train split whose seed nobody annotated."""
    numbers = corpus.numbers("train")
    seeds = read_seeds(corpus.folder, corpus.manifest)
    return [corpus.ref(number) for number in numbers[seeds[numbers] == NO_SEED].tolist()]


def tissue_batches(
    corpus: Corpus, refs: Sequence[PairRef], size: int, stride: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor, dict[ViewName, np.ndarray]]]:
    """Batches of high and low views as stored, uint8 (B, S, S, 3), and view -> cells off the slide, bool (B, S/stride, …)."""
    outside = Outside(corpus.manifest)
    cells = round(corpus.manifest.views["store_px"]) // stride
    for first in range(0, len(refs), size):
        part = refs[first : first + size]
        pairs = [corpus.read(ref, {"high.jpg", "low.jpg", "json"}) for ref in part]
        high, low = (torch.from_numpy(np.stack([decode_rgb(pair[f"{v}.jpg"]) for pair in pairs])) for v in VIEWS)
        off: dict[ViewName, np.ndarray] = {view: np.zeros((len(part), cells, cells), bool) for view in VIEWS}
        for number, (ref, pair) in enumerate(zip(part, pairs, strict=True)):
            for view, mask in outside.of(pair["json"], ref.key, partial(_member, corpus, ref), stride).items():
                off[view][number] = mask  # type: ignore[index]
        yield high, low, off


def _member(corpus: Corpus, ref: PairRef, name: str) -> bytes:
    return corpus.read(ref, {name})[name]


def _codes(
    teacher: Predictor, images: Sequence[tuple[np.ndarray, np.ndarray]], stride: int
) -> list[dict[ViewName, np.ndarray]]:
    """For each pair, the codes of the views that the teacher has a head for, uint8 (S/stride, S/stride)."""
    high, low = (torch.from_numpy(np.stack([pair[i] for pair in images])) for i in (0, 1))
    by_view = _batch_codes(teacher, high, low, stride)
    return [{view: codes[number] for view, codes in by_view.items()} for number in range(len(images))]


def _batch_codes(teacher: Predictor, high: torch.Tensor, low: torch.Tensor, stride: int) -> dict[ViewName, np.ndarray]:
    """View -> codes, uint8 (B, S/stride, S/stride)."""
    with torch.inference_mode():
        answers = {head: labels.encode_batch(p, stride) for head, p in teacher.probabilities(high, low).items()}
    return {view: answers[head].cpu().numpy() for view, head in heads_of_views(answers).items()}


def _against(truth: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Labelled pixels by true class, class said and level."""
    known = (truth != IGNORED) & (codes != IGNORED)
    cell = truth[known].astype(np.int64) * (COUNT * labels.LEVELS) + codes[known]
    return np.bincount(cell, minlength=COUNT * COUNT * labels.LEVELS).reshape(COUNT, COUNT, labels.LEVELS)


def _counted(codes: np.ndarray) -> np.ndarray:
    return np.bincount(codes[codes != IGNORED].ravel(), minlength=COUNT * labels.LEVELS).reshape(COUNT, labels.LEVELS)
