"""The DALI executor on the six policies of Table 8: pairs/s, and how long training waits for data.

    python -m benchmarks.gpu.input [--device cuda] [--batch 16] [--seconds 5] [--threads N] [--out FILE.md]

Views of 512 px from stored ones of 768 px, JPEG decoding included; the network is our m-UNet (two EfficientNet-B4).
On a CPU DALI's CPU operators run, which says nothing about a GPU: for trying this file (--size, --encoder b0 make it small).
"""

import argparse
import itertools
import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from benchmarks.common.feed import MPP, Feed, rate, stored_pairs
from benchmarks.common.policies import table8
from benchmarks.common.processes import ROOT
from benchmarks.gpu.input.page import Rates, markdown
from benchmarks.model.networks import Scale
from benchmarks.model.row import Bench, Job
from mlseg_dist.augment.dali.executor import DaliExecutor, Patches
from mlseg_dist.augment.dali.inputs import Prepared
from mlseg_dist.config import PolicyConfig
from mlseg_dist.inference import normalise

STEPS = ("base", "master-1", "master-2", "master-3", "master-4", "master-5")
_LEAST = 3
"""Batches, at least, to warm up and to measure."""


def main(arguments: list[str]) -> int:
    """Run the table and write it."""
    options = _parser().parse_args(arguments)
    policies = table8()
    bench = Bench(Job("ours", options.size, (options.batch,), options.device, scale=Scale(encoder=options.encoder)))
    views, labels = bench.batch(options.batch)
    bench.model.train()
    alone = rate(
        (bench.train(views, labels) for _ in itertools.count()),
        options.batch,
        options.seconds,
        bench.wait,
        _LEAST,
        _LEAST,
    )
    pairs = stored_pairs(options.size * 3 // 2)
    rows = {}
    for step in options.policies:
        rows[step] = measure(policies[step], bench, pairs, options)
        print(step, rows[step], flush=True)
    out = options.out or ROOT / f"benchmarks/results/gpu/input-{options.device}.md"
    command = shlex.join(["python", "-m", "benchmarks.gpu.input", *arguments])
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(markdown(command, options.device, options.batch, options.threads, alone, rows))
    print(out.read_text())
    return 0


def measure(policy: PolicyConfig, bench: Bench, pairs: list, options: argparse.Namespace) -> Rates:
    """All rates of a policy, one after the other."""
    device_id = 0 if options.device == "cuda" else None
    size = options.size
    executor = DaliExecutor(policy, size, size * 3 // 2, MPP, options.batch, device_id, options.threads)
    feed = Feed(executor, policy, pairs)
    host = rate(
        (_host(feed, number) for number in itertools.count()),
        options.batch,
        options.seconds,
        bench.wait,
        _LEAST,
        _LEAST,
    )
    dali = rate(_used(executor, feed.made_ahead(4)), options.batch, options.seconds, bench.wait, _LEAST, _LEAST)
    both = rate(
        _used(executor, feed.made_by(options.threads)), options.batch, options.seconds, bench.wait, _LEAST, _LEAST
    )
    fed = rate(
        _trained(executor, feed.made_by(options.threads), bench),
        options.batch,
        options.seconds,
        bench.wait,
        _LEAST,
        _LEAST,
    )
    memory = torch.cuda.mem_get_info()[1] - torch.cuda.mem_get_info()[0] if device_id is not None else 0
    return Rates(host, dali, both, fed, memory / 2**30)


def _host(feed: Feed, number: int) -> None:
    """A batch's share of the host, on one thread."""
    for i in range(feed.executor.batch):
        feed.sample(number * feed.executor.batch + i)


def _used(executor: DaliExecutor, batches: Iterator[Sequence[Prepared]]) -> Iterator[Patches]:
    yield from executor.stream(batches)


def _trained(executor: DaliExecutor, batches: Iterator[Sequence[Prepared]], bench: Bench) -> Iterator[None]:
    """A training step a batch."""
    for patches in executor.stream(batches):
        labels = {"high": patches.high_label, "low": patches.low_label}
        yield bench.train([normalise(patches.high), normalise(patches.low)], labels)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu.input", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--policies", nargs="+", choices=STEPS, default=STEPS, metavar="STEP")
    parser.add_argument("--batch", type=int, default=16, help="pairs (default: 16)")
    parser.add_argument(
        "--size", type=int, default=512, help="side of the patches, px; stored ones are half as large again"
    )
    parser.add_argument("--encoder", default="b4", help="of the network (default: b4)")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each figure (default: 5)")
    parser.add_argument(
        "--threads", type=int, default=len(os.sched_getaffinity(0)), help="of DALI, and as many of the host"
    )
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="default: benchmarks/results/gpu/input-DEVICE.md")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
