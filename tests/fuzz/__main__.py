"""`make fuzz N=3000`: mutated files of every format. Each has to end in the same data, in one clear error within 10 s and 2 GB, or,
where a format has no checksum, in what another reader reads too. Prints a table and each case that ends otherwise; exit status 1
where there is one. Case K of a format and a seed is always the same: `--only FORMAT --case K` does one again.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import cv2
import torch

from tests.fuzz.cases import Result, run
from tests.fuzz.formats import FORMATS
from tests.fuzz.material import make

LEAST = 200
"""Cases of each format, unless fewer are asked for altogether."""
_COLUMNS = ("same", "refused", "other, rightly", "SILENT", "UNCLEAR")


def fuzz(number: int, seed: int, names: Sequence[str], only: int | None = None) -> Iterator[Result]:
    """Results, format by format. number: cases of all formats together. only: this case of each."""
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    each = -(-number // len(names))
    with tempfile.TemporaryDirectory(prefix="mlseg-fuzz-") as folder:
        folders = make(Path(folder) / "whole", {FORMATS[name][0] for name in names})
        for name in names:
            material, format = FORMATS[name]
            wanted = range(each) if only is None else [only]
            yield from run(format, folders[material], wanted, seed, Path(folder) / "mutated")


def table(results: Sequence[Result]) -> str:
    """Markdown: a row a format."""
    lines = [f"| format | cases | {' | '.join(_COLUMNS)} |", f"|---|{'---:|' * (len(_COLUMNS) + 1)}"]
    for name in [*dict.fromkeys(result.format for result in results), "all"]:
        own = Counter(result.outcome for result in results if name in (result.format, "all"))
        lines.append(f"| {name} | {own.total()} | {' | '.join(str(own[column]) for column in _COLUMNS)} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("number", type=int, nargs="?", default=3000, help="cases altogether")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", choices=sorted(FORMATS), help="this format; may be given again")
    parser.add_argument("--case", type=int, help="this case alone, with what was said")
    parser.add_argument("--all", action="store_true", help="print every case")
    options = parser.parse_args()
    names = [name for name in FORMATS if options.only is None or name in options.only]
    results, begun = [], time.monotonic()
    for result in fuzz(options.number, options.seed, names, options.case):
        results.append(result)
        if options.all or options.case is not None or result.outcome in ("SILENT", "UNCLEAR"):
            place = f"{result.format} {result.number} ({result.file}: {result.mutation})"
            print(f"{result.outcome}: {place}\n    {result.said}", flush=True)
    print(table(results))
    print(f"\n{len(results)} cases, seed {options.seed}, {time.monotonic() - begun:.0f} s")
    return int(any(result.outcome in ("SILENT", "UNCLEAR") for result in results))


if __name__ == "__main__":
    sys.exit(main())
