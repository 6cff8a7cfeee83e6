"""A race of networks -> Markdown."""

import os
import platform
import shlex
from importlib.metadata import version
from pathlib import Path

import torch

from benchmarks.common.processes import memory_gib
from benchmarks.model.networks import ROWS
from benchmarks.model.race import PARTS, Race
from benchmarks.model.row import Job

_COLUMNS = ("network", "pairs/s", "× two U-Net-B4s", "answered Mpx/s", "ms a batch", "rounds")
_FLOORS = ("arithmetic ms", "traffic ms", "roofline ms", "of the roofline", "peak MiB")
_PEER = "two-unets"


def markdown(race: Race, jobs: dict[str, Job], about: list[str]) -> str:
    """The whole page. jobs: the rows, in the table's order."""
    lines = ["# Networks of two views", "", *about, "", *_roofs(race), "", *_networks(race, jobs), ""]
    batches = sorted({batch for _, _, batch in race.points})
    for batch in batches:
        for work, title in PARTS.items():
            rows = [row for row in jobs if (row, work, batch) in race.points]
            if rows:
                lines += [f"## {title}, batch {batch}", "", *_table(race, rows, work, batch), ""]
    if len(batches) > 1:
        lines += ["A network that is missing at a batch size ran out of memory there.", ""]
    lines += [f"Left out: {ROWS[row].title} ({why})." for row, why in race.skipped.items()]
    return "\n".join(lines).rstrip() + "\n"


def _roofs(race: Race) -> list[str]:
    best = race.best()
    found = {name: [roofs[name] / 1e9 for roofs in race.roofs] for name in race.roofs[0]}
    text = {name: f"{max(values):.0f} ({min(values):.0f}–{max(values):.0f})" for name, values in found.items()}
    return [
        f"{race.rounds} rounds, rows in turn, forwards and backwards; medians of the rounds, ratios of medians; *rounds* is the",
        "fastest and the slowest: differences within it say nothing.",
        "",
        f"Measured roofs, the best (over the rounds): square matrix products {text['matmul_s']}, dense 3x3 convolutions",
        f"{text['conv_s']} G multiply-adds/s, of which the faster is taken, {best.macs_s / 1e9:.0f}; "
        f"a copy {text['bytes_s']} GB/s, read + written.",
        "",
        "Floors of each row's own graph: *arithmetic* = multiply-adds / the first roof; *traffic* = bytes that its operators",
        "must read and write / the second; *roofline* = the sum over operators of the larger of the two. Rule of counting:",
        "`benchmarks/model/counting.py`; every operator passes over memory once, norm and activation together. Maps that stay",
        "in a cache move faster than the copy, so where they do *of the roofline* flatters.",
    ]


def _networks(race: Race, jobs: dict[str, Job]) -> list[str]:
    lines = ["| network | M parameters | GMAC a pair | views px | logits px |", "|---|---:|---:|---:|---:|"]
    for row in jobs:
        if row in race.about:
            about = race.about[row]
            sides = f"{about['side']} | {about['output_side'] or ''}"
            lines.append(f"| {ROWS[row].title} | {about['parameters'] / 1e6:.2f} | {about['gmac']:.2f} | {sides} |")
    return lines


def _table(race: Race, rows: list[str], work: str, batch: int) -> list[str]:
    columns = [*_COLUMNS, *_FLOORS]
    lines = [f"| {' | '.join(columns)} |", f"|---|{'---:|' * (len(columns) - 1)}"]
    peer = (_PEER, work, batch)
    for row in rows:
        key = (row, work, batch)
        rate, ms, floors = race.rate(key), race.ms(key), race.floors_ms(key)
        times = f"{rate / race.rate(peer):.2f}" if peer in race.points else ""
        side = race.about[row]["output_side"]
        pixels = f"{rate * side**2 / 1e6:.2f}" if side else ""
        bounds = " | ".join(f"{floors[name]:.1f}" for name in ("arithmetic", "traffic", "roofline"))
        least, most = race.spread_ms(key)
        lines.append(
            f"| {ROWS[row].title} | {rate:.2f} | {times} | {pixels} | {ms:.1f} | {least:.0f}–{most:.0f} "
            f"| {bounds} | {floors['roofline'] / ms:.0%} | {race.peak_mib(key):.0f} |"
        )
    return lines


def machine(arguments: list[str], job: Job, others: float) -> list[str]:
    """What it ran on and how, without naming the machine. others: share of the cores' time."""
    cores = len(os.sched_getaffinity(0))
    device = f"{cores} cores ({_processor()}), {memory_gib():.0f} GiB"
    dtype = "float32"
    if job.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        device, dtype = f"{card.name}, {card.total_memory / 2**30:.0f} GiB; {device}", "bf16 autocast"
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "monai"))
    return [
        f"`{shlex.join(['python', '-m', 'benchmarks.model', *arguments])}` on {device}, Python "
        f"{platform.python_version()}; {packages}. Other processes took {others:.0%} of the cores' time.",
        "",
        f"All rows: {dtype}, channels last, {'torch.compile' if job.compile else 'no compile'}, views of {job.side} px (or the"
        " nearest below that fits),",
        "random weights and images, fused Adam, one process a row, warm before the clock runs. HookNet trains its target",
        "head only, as published; *answered* counts the pixels of the high view that get logits.",
    ]


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.machine())
