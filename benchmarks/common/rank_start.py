"""One rank's start, in a process of its own.

    python -m benchmarks.common.rank_start CORPUS LABELS|- RESUME_STEP

Out: one line of JSON: seconds (and CPU seconds) from the manifests to the first micro-batch's draws, seconds of the first
micro-batch when resumed, µs of a later one, MiB. The clock starts after the imports; memory is the peak, with imports.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.common.bare_corpus import TRAINING_CLASSES
from benchmarks.common.processes import peak_mib
from mlseg_dist.data.corpus import Corpus
from mlseg_dist.data.order import Order

MICRO_BATCHES, QUADS = 64, 4


def main() -> int:
    """Start once and tell."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpus", type=Path)
    parser.add_argument("labels")
    parser.add_argument("resume", type=int)
    options = parser.parse_args()
    imports = peak_mib()
    begun, begun_cpu = time.perf_counter(), time.process_time()
    labels = None if options.labels == "-" else Path(options.labels)
    corpus = Corpus(options.corpus, TRAINING_CLASSES, labels)
    order = Order(corpus.pools(), 0, "master-1", QUADS, MICRO_BATCHES)
    order.micro_batch(0)
    start_s, start_cpu_s = time.perf_counter() - begun, time.process_time() - begun_cpu
    start_mib = peak_mib()
    far = Order(corpus.pools(), 0, "master-1", QUADS, MICRO_BATCHES)
    begun = time.perf_counter()
    far.micro_batch(options.resume * MICRO_BATCHES)
    resume_s = time.perf_counter() - begun
    own = range(0, MICRO_BATCHES, 8)  # a rank of eight
    for number in own:
        order.micro_batch(number)
    begun = time.perf_counter()
    for number in range(1, 100):
        order.micro_batch(number * MICRO_BATCHES + own[number % len(own)])
    later_us = (time.perf_counter() - begun) / 99 * 1e6
    times = {"start_s": start_s, "start_cpu_s": start_cpu_s, "resume_s": resume_s, "later_us": later_us}
    found = times | {"imports_mib": imports, "start_mib": start_mib, "peak_mib": peak_mib()}
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
