"""Teachers and a corpus in; counts per slide, split and step out. Each pair is read once and shown to every teacher."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from mlseg_core.progress import Progress
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.views import Views, centre_views
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

    def add(self, refs: Sequence[PairRef], views: Sequence[Views], probabilities: np.ndarray, threshold: float) -> None:
        truth = np.stack([v.high_label for v in views])
        predicted = decide(probabilities, threshold)
        for ref, matrix in zip(refs, confusions(truth, predicted), strict=True):
            self.pairs[ref.key] = matrix
            self.slides[ref.slide] = self.slides.get(ref.slide, 0) + matrix
        self.fine += fine_counts(np.stack([v.high_fine for v in views]), truth, predicted)
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
    for part, views in read_batches(corpus, refs, patch_px, batch, threads):
        for teacher, tally in zip(teachers, tallies, strict=True):
            tally.add(part, views, predict_views(teacher, views, ratio), threshold)
        progress.advance(len(part))
    return tallies


def read_batches(
    corpus: Corpus, refs: Sequence[PairRef], patch_px: int, batch: int, threads: int, ahead: int = 2
) -> Iterator[tuple[Sequence[PairRef], list[Views]]]:
    """Centre views of the pairs in order, `ahead` batches being read by threads."""
    under_way: deque[tuple[Sequence[PairRef], list[Future[Views]]]] = deque()
    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="evaluate") as pool:
        for first in range(0, len(refs), batch):
            part = refs[first : first + batch]
            under_way.append((part, [pool.submit(centre_views, corpus, ref, patch_px) for ref in part]))
            if len(under_way) > ahead:
                part, futures = under_way.popleft()
                yield part, [future.result() for future in futures]
        for part, futures in under_way:
            yield part, [future.result() for future in futures]


def predict_views(teacher: Teacher, views: Sequence[Views], ratio: int) -> np.ndarray:
    """Probabilities float32 (B, 3, S, S) of the teacher's own output, on the high grid."""
    return predict_high(teacher, np.stack([v.high for v in views]), np.stack([v.low for v in views]), ratio)


def predict_high(teacher: Teacher, high_BHWC: np.ndarray, low_BHWC: np.ndarray, ratio: int) -> np.ndarray:
    """As predict_views; a network that sees the low view alone is cut to the high field and enlarged."""
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
