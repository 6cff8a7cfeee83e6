"""The order at scale: what a rank's start costs, and which shards ranks read from, beside a global shuffle.

    python -m benchmarks.order [--pairs 12000000] [--shards 1500] [--out FILE.md]

Out: benchmarks/results/order.md. The corpus is synthetic (benchmarks/common/bare_corpus.py) and is removed at the end.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.common.bare_corpus import TRAINING_CLASSES, write_corpus
from benchmarks.common.processes import ROOT, answer, machine
from benchmarks.common.rank_start import MICRO_BATCHES, QUADS
from benchmarks.order.locality import copied_mb, global_shuffle, mixing, ours, reading
from mlseg_dist.config import CLASSES
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.order import Order

_RESUME = 700_000
_REPEATS = 5
_WORLDS = (1, 8, 64)
_MOST_OPEN = 768
"""Shards and sidecars that stay open under a limit of 1,024 file handles (mlseg_dist/data/open_shards.py)."""


def main() -> int:
    """Make the corpus, measure, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.order", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=12_000_000)
    parser.add_argument("--shards", type=int, default=1500)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/order.md", help="where the page goes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mlseg-order-") as name:
        folders = write_corpus(Path(name), options.pairs, options.shards)
        page = _page(options, *folders)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(page)
    print(page)
    return 0


def _start(corpus: Path, labels: Path | None) -> dict[str, float]:
    """Medians of several processes."""
    command = [sys.executable, "-m", "benchmarks.common.rank_start", str(corpus), str(labels or "-"), str(_RESUME)]
    runs = [answer(command, {"OMP_NUM_THREADS": "1"}, "a rank's start") for _ in range(_REPEATS)]
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def _page(options: argparse.Namespace, corpus: Path, labels: Path) -> str:
    starts = {"corpus and round": _start(corpus, labels), "corpus alone": _start(corpus, None)}
    pools = Corpus(corpus, TRAINING_CLASSES, labels).pools()
    order = Order(pools, 0, "master-1", QUADS, MICRO_BATCHES)
    ways = {"**ours**": ours(order), "global shuffle": global_shuffle(pools, QUADS)}
    lines = [
        "# Order",
        "",
        f"`python -m benchmarks.order` on {machine()}, numpy {np.__version__}.",
        "",
        f"{options.pairs:,} pairs in {options.shards:,} shards of {len(set(pools.slide.tolist()))} slides, "
        + ", ".join(f"{name} {size:,}" for name, size in zip(CLASSES, pools.sizes, strict=True))
        + f" to draw; {order.lanes} lanes; a step is {MICRO_BATCHES} micro-batches of {4 * QUADS}.",
        "",
        "## Start of a rank",
        "",
        f"From the manifests to the first draws, imports done; medians of {_REPEATS} processes.",
        "MiB: peak of the process; torch, which the order does not need, is not imported.",
        "",
        f"| | start, s | of it CPU | first micro-batch at step {_RESUME:,}, ms | a later one, µs | peak MiB | of it imports |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, s in starts.items():
        memory = f"{s['peak_mib']:.0f} | {s['imports_mib']:.0f}"
        times = f"{s['start_s']:.2f} | {s['start_cpu_s']:.2f} | {1000 * s['resume_s']:.1f} | {s['later_us']:.0f}"
        lines.append(f"| {name} | {times} | {memory} |")
    lines += [
        "",
        "## Reading, per rank and 1,000 samples, with sidecars",
        "",
        f"At most {_MOST_OPEN} files stay open.",
        "",
        "| ranks | order | distinct files | files opened | MB read | MB if a whole index were read at opening |",
        "|---:|---|---:|---:|---:|---:|",
    ]
    for world in _WORLDS:
        for name, draw in ways.items():
            r = reading(draw, pools, world, MICRO_BATCHES, _MOST_OPEN)
            lines.append(
                f"| {world} | {name} | {r.distinct:.0f} | {r.opened:.0f} | {r.mb:.0f} | {r.mb_whole_index:.0f} |"
            )
    mixes = {name: mixing(draw, pools) for name, draw in ways.items()}
    lines += [
        "",
        f"A cache that holds the windows at hand copies {copied_mb(order):.0f} MB of whole shards for 1,000 samples.",
        "",
        "## Mixing: what a micro-batch of 16 holds",
        "",
        "| order | different slides | different stains × scanners of 12 |",
        "|---|---:|---:|",
        *(f"| {name} | {slides:.1f} | {strata:.1f} |" for name, (slides, strata) in mixes.items()),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
