"""From shards to augmented micro-batches on a CPU, side by side: ours, webdataset + albumentations in a DataLoader, DALI.

    python -m benchmarks.input [--shards DIR] [--minutes 8] [--patch 512] [--threads N] [--out FILE.md]

The six policies of configs/augment/table8.yaml; and reading only, decoding only. Each row is a process of its own for each policy
(benchmarks/input/row.py); rows take turns, forwards and backwards, twice at least. Out: benchmarks/results/input-cpu.md.
"""

import argparse
import os
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common.photo_corpus import training_classes, write_corpus
from benchmarks.common.processes import ONE_THREAD, ROOT, RowFailed, answer
from benchmarks.input.page import Race, markdown, rate
from benchmarks.input.row import BARE, POLICIES, SOURCES, Job, Point
from mlseg_core.errors import UserError

_LEAST_ROUNDS = 2
_SHARDS, _SHARDS_EACH = 16, 4
"""At least, and for each worker: webdataset deals whole shards to its workers."""


def main(arguments: list[str], pairs: int = 640, store_px: int = 768, seconds: float = 5.0) -> int:
    """Run the table and write it. pairs, store_px: of the corpus made here; seconds: that a row is measured for, once warm."""
    options = _parser().parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="mlseg-input-") as name:
        count = max(_SHARDS, _SHARDS_EACH * options.threads)
        shards = options.shards or write_corpus(Path(name) / "shards", pairs, count, store_px)
        job = Job("ours", "base", str(shards.absolute()), options.patch, options.threads, seconds=seconds)
        try:
            training_classes(job.manifest())
        except UserError as error:
            print(error, file=sys.stderr)
            return 2
        race = run(job, options.minutes)
        policies = {policy: Job("ours", policy, job.shards, job.patch_px, 1).ops() for policy in POLICIES}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(markdown(race, policies, job, arguments, _lacking()))
    print(options.out.read_text())
    return 0


def run(job: Job, minutes: float) -> Race:
    """All rows on all policies, in rounds. A row that fails is left out from then on."""
    race, start, longest = Race(), time.monotonic(), 0.0
    if find_spec("nvidia") is None or find_spec("nvidia.dali") is None:
        race.skipped["dali"] = "NVIDIA DALI is not installed"
    jobs = [_with(job, row, "") for row in BARE]
    jobs += [_with(job, row, policy) for policy in POLICIES for row in SOURCES if row not in BARE]
    while race.rounds < _LEAST_ROUNDS or time.monotonic() - start + longest < 60 * minutes:
        before = time.monotonic()
        for one in reversed(jobs) if race.rounds % 2 else jobs:
            if one.row in race.skipped:
                continue
            try:
                point = run_row(one)
            except RowFailed as error:
                race.skipped[one.row] = str(error)
                continue
            race.points.setdefault((one.row, one.policy), []).append(point)
            print(f"{one.policy or 'bare'}  {one.row}: {rate(point):.1f} pairs/s", file=sys.stderr, flush=True)
        race.rounds += 1
        longest = max(longest, time.monotonic() - before)
    return race


def run_row(job: Job) -> Point:
    """One row in its process. Raises RowFailed."""
    with tempfile.TemporaryDirectory(prefix="mlseg-bench-") as folder:
        path = job.write(Path(folder) / "job.json")
        command = [sys.executable, "-m", "benchmarks.input.row", str(path)]
        return Point(**answer(command, ONE_THREAD, job.row))


def _with(job: Job, row: str, policy: str) -> Job:
    return Job(row, policy, job.shards, job.patch_px, job.threads, job.batch, job.seconds)


def _lacking() -> tuple[str, ...]:
    try:
        from benchmarks.input.dali import LACKING
    except ImportError:
        return ()
    return LACKING


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.input", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--shards", type=Path, metavar="DIR", help="a corpus of your own (default: 640 pairs made here)"
    )
    parser.add_argument("--minutes", type=float, default=8.0, help="repeat for so long (default: 8)")
    parser.add_argument("--patch", type=int, default=512, help="side of the patches, px (default: 512)")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--threads", type=int, default=cores, help="or worker processes, of every row (default: cores)")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/input-cpu.md", metavar="FILE.md", help="where it goes"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
