"""Three questions about mlseg_dist/whole_slide, each with a page of its own in benchmarks/results.

python -m benchmarks.whole_slide seams RUN [--split test]     what moving the patches by half a step changes
python -m benchmarks.whole_slide rate RUN [--rounds 5]        how much of a pass is the network's forward
python -m benchmarks.whole_slide memory [--side 20000 …]      peak memory and time with a network that costs nothing
"""

import argparse
import os
import platform
import shlex
import sys
from pathlib import Path

import torch

from benchmarks.common.processes import ROOT
from benchmarks.whole_slide import memory, rate, seams


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    out = options.out or ROOT / f"benchmarks/results/whole-slide-{options.part}.md"
    title, lines = {"seams": seams.page, "rate": rate.page, "memory": memory.page}[options.part](options)
    command = f"`python -m benchmarks.whole_slide {shlex.join(arguments)}`"
    machine = f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}"
    out.write_text("\n".join([f"# {title}", "", f"{command} on CPU, {machine}.", "", *lines, ""]))
    print(out.read_text())
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whole_slide")
    parts = parser.add_subparsers(dest="part", required=True)
    for part in ("seams", "rate", "memory"):
        of = parts.add_parser(part)
        of.add_argument("--out", type=Path, metavar="FILE.md", help="default: benchmarks/results/whole-slide-PART.md")
        if part != "memory":
            of.add_argument("run", type=Path, metavar="RUN", help="a campaign's run folder")
            of.add_argument("--split", default="test", help="whose slides (default: test)")
    parts.choices["rate"].add_argument("--rounds", type=int, default=5, help="default: 5")
    parts.choices["memory"].add_argument("--side", type=int, nargs="+", default=[20000], help="of slides, px")
    parts.choices["memory"].add_argument("--cell", type=int, default=1, help="px that become one cell (default: 1)")
    parts.choices["memory"].add_argument("--patch", type=int, default=768, help="side of the views, px (default: 768)")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
