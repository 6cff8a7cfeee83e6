"""Teachers and a corpus in; counts per slide, split and step out. Each pair is read once and shown to every teacher."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np
import torch

from mlseg_core.progress import Progress
from mlseg_dist.data.centres import Centres, parts_of, read_centres
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.evaluation.counts import BINS, COUNT, confusions, decide, fine_counts, score_histograms
from mlseg_dist.model import output_head, view_of


class Teacher(Protocol):
    """What evaluation needs of a trained network."""

    def predict(self, high: np.ndarray, low: np.ndarray) -> dict[str, np.ndarray]: ...


@dataclass
class Tally:
    """Counts of one step on one split. slides, pairs: slug or key -> (3, 3); fine: (256, 3); scores: (3, 2, 101)."""

    slides: dict[str, np.ndarray] = field(default_factory=dict)
    pairs: dict[str, np.ndarray] = field(default_factory=dict)
    fine: np.ndarray = field(default_factory=lambda: np.zeros((256, COUNT), np.int64))
    scores: np.ndarray = field(default_factory=lambda: np.zeros((COUNT, 2, BINS), np.int64))

    @property
    def pooled(self) -> np.ndarray:
        return sum(self.slides.values(), np.zeros((COUNT, COUNT), np.int64))

    def add(self, batch: Centres, probabilities: np.ndarray, threshold: float) -> None:
        """probabilities: float (B, 3, P, P) on the high grid."""
        views = batch.arrays()
        truth, predicted = views.high_label, decide(probabilities, threshold)
        for ref, matrix in zip(batch.refs, confusions(truth, predicted), strict=True):
            self.pairs[ref.key] = matrix
            self.slides[ref.slide] = self.slides.get(ref.slide, 0) + matrix
        self.fine += fine_counts(views.high_fine, truth, predicted)
        self.scores += score_histograms(probabilities, truth)


def score(
    teachers: Sequence[Teacher],
    corpus: Corpus,
    refs: Sequence[PairRef],
    *,
    patch_px: int,
    batch: int,
    threshold: float,
    threads: int,
    progress: Progress,
) -> list[Tally]:
    """One tally a teacher, of all the given pairs."""
    tallies = [Tally() for _ in teachers]
    ratio = corpus.manifest.ratio
    pinned = torch.cuda.is_available()
    with read_centres(corpus, parts_of(refs, batch), patch_px, threads, pinned=pinned) as coming:
        for part, _ in coming:
            for teacher, tally in zip(teachers, tallies, strict=True):
                tally.add(part, predict_centres(teacher, part, ratio), threshold)
            progress.advance(len(part.refs))
    return tallies


def predict_centres(teacher: Teacher, batch: Centres, ratio: int) -> np.ndarray:
    """Probabilities float32 (B, 3, P, P) of the teacher's own output, on the high grid."""
    views = batch.arrays()
    return predict_high(teacher, views.high, views.low, ratio)


def predict_high(teacher: Teacher, high_BHWC: np.ndarray, low_BHWC: np.ndarray, ratio: int) -> np.ndarray:
    """As predict_centres; a network that sees the low view alone is cut to the high field and enlarged."""
    answers = teacher.predict(high_BHWC, low_BHWC)
    head = output_head(answers)
    return onto_high_grid(answers[head], ratio) if view_of(head) == "low" else answers[head]


def onto_high_grid(low_BCHW: np.ndarray, ratio: int) -> np.ndarray:
    """The centre 1/ratio of maps on the low grid, enlarged to their size."""
    size = low_BCHW.shape[-1]
    part = size // ratio
    edge = (size - part) // 2
    centre = low_BCHW[:, :, edge : edge + part, edge : edge + part]
    large = [
        cv2.resize(np.ascontiguousarray(sample.transpose(1, 2, 0)), (size, size), interpolation=cv2.INTER_LINEAR)
        for sample in centre
    ]
    return np.stack(large).transpose(0, 3, 1, 2)
