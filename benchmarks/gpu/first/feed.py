"""How fast DALI and the CPU's threads make micro-batches of base, master-1 and master-4, beside the network that eats them."""

import itertools
from collections.abc import Iterator
from functools import partial

import cv2
import torch

from benchmarks.common.feed import MPP, Feed, Pair, rate, stored_pairs
from benchmarks.common.policies import table8
from benchmarks.gpu.first.networks import job
from benchmarks.gpu.first.parts import Rows, Settings
from benchmarks.model.row import Bench
from mlseg_dist.augment import augment, draw_parameters
from mlseg_dist.augment.policy import OpConfig
from mlseg_dist.data.prefetch import ReadAhead, Work, batch_memory
from mlseg_dist.data.views import Views
from mlseg_dist.inference import normalise
from shards.sample import decode_label, decode_rgb

_POLICIES = ("base", "master-1", "master-4")
_AHEAD = 4
_SECONDS = 4.0
_LEAST = 2


def rates(settings: Settings, rows: Rows) -> None:
    """Pairs/s of the network alone; of DALI and of the CPU, alone and feeding it; the share of a step spent waiting."""
    from mlseg_dist.augment.dali.executor import DaliExecutor

    torch.backends.cudnn.benchmark = True
    cv2.setNumThreads(1)
    bench = Bench(job(settings))
    bench.model.train()
    batch = 2 if settings.tiny else 16
    side, threads = bench.side, settings.cores
    seconds, warm = (0.0, 1) if settings.tiny else (_SECONDS, 2 + _AHEAD)
    pairs = stored_pairs(side * 3 // 2, 4 if settings.tiny else 32)
    views, labels = bench.batch(batch)
    alone = rate((bench.train(views, labels) for _ in itertools.count()), batch, seconds, bench.wait, warm, _LEAST)
    rows.add(policy="any", made_by="lies on the device", made=None, trained=alone, waits=0.0)
    device_id = 0 if settings.device == "cuda" else None
    for name in _POLICIES[:1] if settings.tiny else _POLICIES:
        policy = table8()[name]
        executor = DaliExecutor(policy, side, side * 3 // 2, MPP, batch, device_id, threads)
        feed = Feed(executor, policy, pairs)

        def by_dali(feed: Feed = feed) -> Iterator[tuple[torch.Tensor, ...]]:
            for made in feed.executor.stream(feed.made_by(threads)):
                yield made.high, made.low, made.high_label, made.low_label

        by_cpu = partial(_cpu_batches, policy, pairs, side, batch, settings)
        for kind, source in (("DALI", by_dali), ("CPU", by_cpu)):
            made = rate(source(), batch, seconds, bench.wait, warm, _LEAST)
            trained = rate(_trained(source(), bench), batch, seconds, bench.wait, warm, _LEAST)
            rows.add(policy=name, made_by=kind, made=made, trained=trained, waits=max(0.0, 1 - trained / alone))


def _cpu_batches(
    policy: tuple[OpConfig, ...], pairs: list[Pair], side: int, batch: int, settings: Settings
) -> Iterator[tuple[torch.Tensor, ...]]:
    """What training's CPU path does but for reading files: threads decode, augment and fill pinned memory."""
    pinned = settings.device == "cuda"

    def one(memory: dict[str, torch.Tensor], row: int, draw: int) -> None:
        pair = pairs[draw % len(pairs)]
        labels = decode_label(pair.high_label), decode_label(pair.low_label)
        stored = Views(decode_rgb(pair.high), decode_rgb(pair.low), *labels, labels[0])
        views = augment(stored, draw_parameters(policy, 1, "gpu", draw), MPP, side)
        for name, rows in memory.items():
            rows[row].numpy()[:] = getattr(views, name)

    def begin(number: int) -> Work[dict[str, torch.Tensor], None]:
        label = (batch, side, side)
        image = (*label, 3)
        memory = batch_memory(pinned, high=image, low=image, high_label=label, low_label=label)
        return Work(memory, [partial(one, memory, row, number * batch + row) for row in range(batch)])

    with ReadAhead(itertools.count(), begin, settings.cores, _AHEAD) as coming:
        for memory, _ in coming:
            yield tuple(tensor.to(settings.device, non_blocking=True) for tensor in memory.values())


def _trained(source: Iterator[tuple[torch.Tensor, ...]], bench: Bench) -> Iterator[None]:
    for high, low, high_label, low_label in source:
        yield bench.train([normalise(high), normalise(low)], {"high": high_label, "low": low_label})
