"""Timings of benchmarks.label -> Markdown."""

import os
import platform
import shlex
from collections.abc import Sequence
from statistics import median

import numpy as np
import torch

from benchmarks.label.rows import Timing

GOAL = 0.9
"""Ours over forward alone, pairs/s."""
_RESAMPLES = 2000
TITLES = {
    "forward": "forward alone, views decoded before",
    "ours": "**ours**: read, decode, label, encode, write, index, hash",
    "dali": "**ours**, decoded by DALI on the GPU",
    "serial": "the same, one thing after another",
}
Rounds = dict[str, list[Timing]]


def ratio(rounds: Rounds, over: str, under: str, figure: str = "rate") -> tuple[float, float, float]:
    """Median over rounds of over / under in the same round, and its 95 % interval (bootstrap over rounds)."""
    each = np.array([getattr(a, figure) / getattr(b, figure) for a, b in zip(rounds[over], rounds[under], strict=True)])
    random = np.random.default_rng(0)
    drawn = np.median(each[random.integers(len(each), size=(_RESAMPLES, len(each)))], axis=1)
    return float(np.median(each)), float(np.quantile(drawn, 0.025)), float(np.quantile(drawn, 0.975))


def _verdict(found: tuple[float, float, float]) -> str:
    if found[1] >= GOAL:
        return "**reached**"
    return "**missed**" if found[2] < GOAL else "within the noise"


def _percent(found: tuple[float, float, float]) -> str:
    return f"{found[0]:.1%} ({found[1]:.1%}–{found[2]:.1%})"


def markdown(found: dict[str, Rounds], facts: Sequence[str], command: Sequence[str], device: torch.device) -> str:
    """found: step -> row -> a timing each round."""
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    cores = len(os.sched_getaffinity(0))
    lines = [
        "# Labelling against forward alone",
        "",
        f"`{shlex.join(['python', '-m', 'benchmarks.label', *command])}` on {where}, {cores} cores, "
        f"Python {platform.python_version()}, torch {torch.__version__}.",
        "",
        *facts,
    ]
    for step, rounds in found.items():
        lines += ["", f"## {step}", "", "| row | pairs/s | slowest–fastest | CPU s a pair | of forward | by CPU time |"]
        lines.append("|---|---:|---:|---:|---:|---:|")
        for row, timings in rounds.items():
            rates = [timing.rate for timing in timings]
            cpu = median(timing.cpu_s / timing.pairs for timing in timings)
            lines.append(
                f"| {TITLES[row]} | {median(rates):.2f} | {min(rates):.2f}–{max(rates):.2f} | {cpu:.3f} "
                f"| {_percent(ratio(rounds, row, 'forward'))} | {_percent(ratio(rounds, 'forward', row, 'cpu_s'))} |"
            )
        kinds = {"wall time": ratio(rounds, "ours", "forward"), "CPU time": ratio(rounds, "forward", "ours", "cpu_s")}
        judged = "; ".join(f"by {kind} {_verdict(one)}, {_percent(one)}" for kind, one in kinds.items())
        lines += ["", f"Goal: {GOAL:.0%} of forward alone: {judged}."]
        if device.type == "cpu":
            lines.append(
                "Here the network's own cores read and write: what overlapping can reach is the share by CPU time, and other "
                "load on the machine moves wall time more than CPU time."
            )
    return "\n".join(lines) + "\n"
