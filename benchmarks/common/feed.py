"""Stored pairs, and the host's share of making micro-batches of them: what a training rank does but for reading files."""

import itertools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np
import skimage.data

from mlseg_dist.augment import draw_parameters
from mlseg_dist.augment.dali.executor import DaliExecutor
from mlseg_dist.augment.dali.inputs import Encoded, Prepared
from mlseg_dist.augment.policy import OpConfig
from mlseg_dist.data.prefetch import ReadAhead, Work
from shards.sample import decode_label, encode_jpeg, encode_png

MPP = {"high": 0.5, "low": 2.0}
_PAIRS = 32
_AHEAD = 4


@dataclass(frozen=True)
class Pair:
    """As a shard has it: JPEG and PNG bytes of the high and the low view."""

    high: bytes
    low: bytes
    high_label: bytes
    low_label: bytes


def stored_pairs(store_px: int, count: int = _PAIRS) -> list[Pair]:
    """Cuts of a photograph of stained tissue, magnified to the size; labels follow its brightness."""
    tissue = skimage.data.immunohistochemistry()
    random = np.random.default_rng(0)
    return [Pair(*_images(tissue, random, store_px), *_labels(tissue, random, store_px)) for _ in range(count)]


def _images(tissue: np.ndarray, random: np.random.Generator, store_px: int) -> tuple[bytes, bytes]:
    high, low = (encode_jpeg(_cut(tissue, random, store_px), 95) for _ in range(2))
    return high, low


def _labels(tissue: np.ndarray, random: np.random.Generator, store_px: int) -> tuple[bytes, bytes]:
    smooth = cv2.GaussianBlur(tissue.mean(-1).astype(np.uint8), (0, 0), 6)
    classes = np.digitize(smooth, np.quantile(smooth, [1 / 3, 2 / 3])).astype(np.uint8)
    high, low = (encode_png(_cut(classes, random, store_px, cv2.INTER_NEAREST)) for _ in range(2))
    return high, low


def _cut(
    image: np.ndarray, random: np.random.Generator, store_px: int, interpolation: int = cv2.INTER_CUBIC
) -> np.ndarray:
    side = min(image.shape[:2]) * 3 // 4
    y, x = (int(random.integers(length - side)) for length in image.shape[:2])
    return cv2.resize(image[y : y + side, x : x + side], (store_px, store_px), interpolation=interpolation)


@dataclass
class Feed:
    """Micro-batches without end."""

    executor: DaliExecutor
    policy: tuple[OpConfig, ...]
    pairs: list[Pair]

    def sample(self, draw: int) -> Prepared:
        """Labels decoded, parameters drawn and turned into arrays."""
        pair = self.pairs[draw % len(self.pairs)]
        labels = decode_label(pair.high_label), decode_label(pair.low_label)
        parameters = draw_parameters(self.policy, 1, "gpu", draw)
        return self.executor.prepare(Encoded(pair.high, pair.low, *labels, parameters))

    def made_ahead(self, count: int) -> Iterator[list[Prepared]]:
        """`count` batches made now, given again and again: what DALI alone can do."""
        size = self.executor.batch
        batches = [[self.sample(first + i) for i in range(size)] for first in range(0, count * size, size)]
        while True:
            yield from batches

    def made_by(self, threads: int) -> Iterator[list[Prepared]]:
        """Each batch made once, by so many threads, some batches ahead."""
        size = self.executor.batch

        def begin(number: int) -> Work[None, Prepared]:
            return Work(None, [partial(self.sample, number * size + i) for i in range(size)])

        with ReadAhead(itertools.count(), begin, threads, _AHEAD) as coming:
            for _, samples in coming:
                yield samples


def rate(
    batches: Iterator[object], pairs: int, seconds: float, wait: Callable[[], None], warm: int, least: int
) -> float:
    """Pairs/s over `seconds` and at least `least` batches of `pairs`, after `warm` batches; the iterator is closed.

    wait: returns once the device has done all that it was given.
    """
    for _ in range(warm):
        next(batches)
    wait()
    begun, count = time.perf_counter(), 0
    while count < least or time.perf_counter() - begun < seconds:
        next(batches)
        count += 1
    wait()
    taken = time.perf_counter() - begun
    batches.close()  # type: ignore[attr-defined]
    return count * pairs / taken
