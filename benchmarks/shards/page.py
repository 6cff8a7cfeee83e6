"""Results of the rows -> Markdown."""

import shlex
import statistics
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from benchmarks.common.processes import machine
from benchmarks.shards.race import Result

WRITES = {
    "ours": ("**ours**", "both views, both labels, JSON in tars; audit, index, crc32c, sha256, fsync"),
    "floor": ("floor", "nothing: each tile decoded once, each output encoded once"),
    "loop_jpeg": ("OpenSlide + Pillow loop, JPEG", "both views, 95 4:4:4, as files; no labels, no hashes"),
    "loop_png": ("OpenSlide + Pillow loop, PNG", "both views as files; no labels, no hashes"),
    "hs2p_tar": ("hs2p", "JPEG 95 4:2:0 in one tar a view (two runs); no labels, no hashes"),
}
_PACKAGES = (
    "openslide-python",
    "openslide-bin",
    "opencv-python-headless",
    "tifffile",
    "imagecodecs",
    "pillow",
    "numpy",
)


@dataclass
class Table:
    """One set of patches at one number of processes, and what its rows did."""

    title: str
    patches: int
    job: Path
    processes: int
    rows: dict[str, list[Result]] = field(default_factory=dict)

    def add(self, row: str, result: Result) -> None:
        self.rows.setdefault(row, []).append(result)

    def best(self, row: str, figure: Callable[[Result], float]) -> float:
        return max(figure(result) for result in self.rows[row])

    def median(self, row: str, figure: Callable[[Result], float]) -> float:
        return statistics.median(figure(result) for result in self.rows[row])


def _rate(result: Result) -> float:
    return result.pairs / result.seconds


def _cpu_ms(result: Result) -> float:
    return 1000 * result.cpu_s / result.pairs


def markdown(tables: list[Table], memory: dict[str, Result], skipped: dict[str, str], about: list[str]) -> str:
    """The whole page."""
    lines = ["# Cutting paired patches", "", *about, ""]
    for table in tables:
        lines += [*_table(table), ""]
    lines += [f"Left out: {WRITES[row][0]} ({why})." for row, why in skipped.items()]
    if memory:
        lines += ["## Memory", "", "Ours, one process, seeds every 256 µm.", ""]
        lines += ["| slide | pairs | peak MiB of the worker |", "|---|---:|---:|"]
        lines += [f"| {name} | {result.pairs} | {result.peak_mib:.0f} |" for name, result in memory.items()]
    return "\n".join(lines).rstrip() + "\n"


def _table(table: Table) -> list[str]:
    rounds = max(len(results) for results in table.rows.values())
    ours = table.median("ours", _rate)
    lines = [
        f"## {table.title[0].upper()}{table.title[1:]}",
        "",
        f"{table.patches} pairs, {rounds} repetitions.",
        "",
        "| row | pairs/s best (median) | ours is … times as fast | CPU ms/pair | MB/pair | peak MiB/worker | seconds | writes |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for row in sorted(table.rows, key=lambda name: -table.median(name, _rate)):
        name, writes = WRITES[row]
        result = table.rows[row][0]
        share = "" if result.pairs == table.patches else f" of {result.pairs} pairs"
        lines.append(
            f"| {name} | {table.best(row, _rate):.1f} ({table.median(row, _rate):.1f}) | {ours / table.median(row, _rate):.2f} "
            f"| {table.median(row, _cpu_ms):.1f} | {result.mb / result.pairs:.2f} "
            f"| {table.best(row, lambda r: r.peak_mib):.0f} | {table.median(row, lambda r: r.seconds):.1f}{share} | {writes} |"
        )
    return [*lines, "", *_of_the_floor(table)]


def _of_the_floor(table: Table) -> list[str]:
    if "floor" not in table.rows:
        return []
    decode = table.median("floor", lambda r: r.extra["decode_s"])
    write = table.median("floor", lambda r: r.extra["write_s"])
    busy = table.median("floor", lambda r: r.cpu_s)
    share = table.median("ours", _rate) / table.median("floor", _rate)
    by_cpu = table.median("floor", _cpu_ms) / table.median("ours", _cpu_ms)
    write_cpu = table.median("floor", lambda r: r.extra["write_cpu_s"])
    with_write = (busy + write_cpu) / table.patches * 1000 / table.median("ours", _cpu_ms)
    return [
        f"Ours reaches {share:.0%} of the floor, {by_cpu:.0%} by CPU time, {with_write:.0%} of a floor that also writes "
        f"its bytes to one file. Of the floor's {busy:.1f} CPU s, decoding takes {decode:.1f}; writing adds {write:.1f} s."
    ]


def about(pythons: dict[str, str]) -> list[str]:
    """What it ran on and how, without naming the machine."""
    packages = [f"{name} {version(name)}" for name in _PACKAGES]
    peers = [_peer_version(python, "hs2p") for row, python in pythons.items() if row == "hs2p_tar"]
    command = shlex.join(["python", "-m", "benchmarks.shards", *(["--peer-python", "PATH"] if peers else [])])
    return [
        f"`{command}` on {machine()}; {', '.join([*packages, *peers])}.",
        "",
        "Both views of 768 px at 0.5 and 2 µm/px. Files lie in the page cache, processes are started and have imported",
        "before the clock runs; libraries get one thread a process. Rows take turns. CPU is user and system time of",
        "the workers, which another load on the machine hardly changes. A row that stops early does a square",
        "of neighbours in the middle of each slide.",
    ]


def _peer_version(python: str, package: str) -> str:
    code = f"from importlib.metadata import version; print(version({package!r}))"
    return f"{package} {subprocess.run([python, '-c', code], capture_output=True, text=True).stdout.strip()}"
