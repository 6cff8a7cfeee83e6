"""Our micro-batches, as training takes them; and the same order only read, or read and decoded."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import count

from benchmarks.common.photo_corpus import training_classes
from benchmarks.input.row import Batch, Job
from mlseg_dist.data.batches import AHEAD, Batches
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.order import QUAD, Order
from mlseg_dist.data.prefetch import ReadAhead, Work
from mlseg_dist.data.views import stored_views

_MICRO_BATCHES = 4
"""A step's. Only lanes depend on it, and here one process goes through all."""


def augmented(job: Job) -> Iterator[Batch]:
    """2:1:1, crc32c checked, decoded, labels in training classes, augmented, stacked."""
    corpus, order = _open(job)
    batches = Batches(corpus, order, job.ops(), job.patch_px, job.threads)
    for batch in batches.stream(count()):
        yield batch.high, batch.low, batch.high_label, batch.low_label


def decoded(job: Job) -> Iterator[Batch]:
    """The whole stored field, labels in training classes."""
    corpus, order = _open(job)

    def one(pair: int) -> tuple:
        views = stored_views(corpus, corpus.ref(pair))
        return views.high, views.low, views.high_label, views.low_label

    return _made(order, one, job.threads)


def read(job: Job) -> Iterator[Batch]:
    """Bytes of the four members, crc32c checked."""
    corpus, order = _open(job)

    def one(pair: int) -> tuple:
        members = corpus.read(corpus.ref(pair))
        return tuple(members[name] for name in ("high.jpg", "low.jpg", "high.png", "low.png"))

    return _made(order, one, job.threads)


def _open(job: Job) -> tuple[Corpus, Order]:
    corpus = Corpus(job.folder, training_classes(job.manifest()))
    return corpus, Order(corpus.pools(), 0, job.policy or "base", job.batch // len(QUAD), _MICRO_BATCHES)


def _made(order: Order, one: Callable[[int], tuple], threads: int) -> Iterator[Batch]:
    def begin(number: int) -> Work[None, tuple]:
        return Work(None, [partial(one, draw.pair) for draw in order.micro_batch(number)])

    with ReadAhead(count(), begin, threads, AHEAD) as coming:
        for _, pairs in coming:
            high, low, high_label, low_label = zip(*pairs, strict=True)
            yield high, low, high_label, low_label
