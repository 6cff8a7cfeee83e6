"""Networks of two views, side by side: ours, HookNet, two plain U-Nets, with the floors of their graphs.

    python -m benchmarks.model [--size 256] [--batches 2] [--minutes 8] [--device cpu] [--compile] [--out FILE.md]

Each row is a process of its own (benchmarks/model/row.py); rows take turns, forwards and backwards, twice at least and
as often as the minutes allow. On a GPU: bf16 autocast, 512 px, batches 4 to 64. Out: benchmarks/results/model-DEVICE.md.
"""

import argparse
import os
import sys
import time
from pathlib import Path

from benchmarks.common.processes import ROOT
from benchmarks.model.networks import PUBLISHED, ROWS, Scale
from benchmarks.model.page import machine, markdown
from benchmarks.model.race import Race, run_round
from benchmarks.model.row import Job

SIZES = {"cpu": 256, "cuda": 512}
BATCHES = {"cpu": (2,), "cuda": (4, 8, 16, 32, 64)}
_LEAST_ROUNDS = 2


def main(arguments: list[str], scale: Scale = PUBLISHED, seconds: float = 3.0) -> int:
    """Run the table and write it. scale: of the networks; seconds: a point is repeated for, once warm."""
    options = _parser().parse_args(arguments)
    device = options.device
    jobs = {
        row: Job(
            row,
            options.size or SIZES[device],
            options.batches or BATCHES[device],
            device,
            options.compile,
            seconds=seconds,
            threads=len(os.sched_getaffinity(0)) if device == "cpu" else 0,
            scale=scale,
        )
        for row in ROWS
    }
    race, start, longest, others = Race(), time.monotonic(), 0.0, _Others()
    while race.rounds < _LEAST_ROUNDS or time.monotonic() - start + longest < 60 * options.minutes:
        before = time.monotonic()
        run_round(race, jobs, backwards=race.rounds % 2 == 1)
        longest = max(longest, time.monotonic() - before)
    out = options.out or ROOT / f"benchmarks/results/model-{device}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(markdown(race, jobs, machine(arguments, jobs["two-unets"], others.share())))
    print(out.read_text())
    return 0


class _Others:
    """How busy other processes keep the machine's cores from its making on."""

    def __init__(self) -> None:
        self.start = self._clocks()

    def share(self) -> float:
        """Share of all cores' time that other processes used."""
        passed, others = (now - then for now, then in zip(self._clocks(), self.start, strict=True))
        return max(0.0, others / passed)

    @staticmethod
    def _clocks() -> tuple[float, float]:
        """Seconds of all cores: that have passed, that others than this process and those it waited for have used."""
        ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
        seconds = sum(ticks) / os.sysconf("SC_CLK_TCK")
        idle = (ticks[3] + ticks[4]) / os.sysconf("SC_CLK_TCK")
        return seconds, seconds - idle - sum(os.times()[:4])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.model", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", type=int, help="side of the views, px (default: 256 on a CPU, 512 on a GPU)")
    parser.add_argument("--batches", type=_batches, help="pairs a batch, ascending: 4,8,16 (default: 2 on a CPU)")
    parser.add_argument("--minutes", type=float, default=8.0, help="repeat for so long (default: 8)")
    parser.add_argument("--device", choices=sorted(SIZES), default="cpu")
    parser.add_argument("--compile", action="store_true", help="torch.compile, for every row")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="where the table goes")
    return parser


def _batches(text: str) -> tuple[int, ...]:
    return tuple(sorted(int(part) for part in text.split(",")))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
