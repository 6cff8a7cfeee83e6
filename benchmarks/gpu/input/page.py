"""Rates of the DALI executor -> Markdown."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import version

import torch

GOAL_RATE = 2.0
"""DALI's pairs/s over the network's."""
GOAL_WAIT = 0.02
"""Share of a step's time by which training may be slower when DALI feeds it."""
_COLUMNS = ("policy", "DALI", "DALI + host", "host, one thread", "training, fed", "DALI / training", "data wait", "GiB")


@dataclass(frozen=True)
class Rates:
    """Pairs/s. host: labels, draws and arrays on one thread; dali: fed with batches made ahead; both: made as they come;
    fed: training on these. memory_gib: in use on the device, network, DALI and torch's cache.
    """

    host: float
    dali: float
    both: float
    fed: float
    memory_gib: float


def wait(alone: float, fed: float) -> float:
    """Share of a fed step's time beyond that of a step on data that lies there."""
    return max(0.0, 1 - fed / alone)


def markdown(command: str, device: str, batch: int, threads: int, alone: float, rows: dict[str, Rates]) -> str:
    """alone: training's pairs/s on one batch that lies on the device."""
    lines = [
        "# Augmentation by DALI",
        "",
        f"`{command}` on {_device(device)}; {', '.join(f'{name} {version(name)}' for name in (_dali(), 'torch'))}.",
        "",
        f"Pairs/s, batch {batch}, {threads} threads of DALI and as many of the host; decoding is in all of *DALI*. Training alone,",
        f"on one batch that lies there: **{alone:.1f}** pairs/s (m-UNet, forward, loss, backward, Adam).",
        "",
        f"| {' | '.join(_COLUMNS)} |",
        f"|---|{'---:|' * (len(_COLUMNS) - 1)}",
    ]
    for step, rates in rows.items():
        figures = (f"{rate:.1f}" for rate in (rates.dali, rates.both, rates.host, rates.fed))
        share = f"{wait(alone, rates.fed):.1%}"
        lines.append(
            f"| {step} | {' | '.join(figures)} | {rates.dali / alone:.2f} | {share} | {rates.memory_gib:.1f} |"
        )
    lines += ["", *_verdict(alone, rows)]
    if device == "cpu":
        lines += ["", "DALI's CPU operators: a trial of the benchmark, not of a GPU."]
    return "\n".join(lines) + "\n"


def _verdict(alone: float, rows: dict[str, Rates]) -> list[str]:
    slow = [step for step, rates in rows.items() if rates.dali < GOAL_RATE * alone]
    waits = [step for step, rates in rows.items() if wait(alone, rates.fed) > GOAL_WAIT]
    return [
        f"- DALI at least {GOAL_RATE:g} times what training takes: {'missed by ' + ', '.join(slow) if slow else 'met'}.",
        f"- Data wait below {GOAL_WAIT:.0%} of a step: {'missed by ' + ', '.join(waits) if waits else 'met'}.",
    ]


def _device(device: str) -> str:
    host = f"{len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}"
    return f"{torch.cuda.get_device_name(0)}, {host}" if device == "cuda" else host


def _dali() -> str:
    return "nvidia-dali-cuda130" if torch.version.cuda and torch.version.cuda >= "13" else "nvidia-dali-cuda120"
