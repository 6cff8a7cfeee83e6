"""Training loops in one run, same model and batches: a bare PyTorch loop, DDP, DeepSpeed with ZeRO 0, 1, 2, ours.

    python -m benchmarks.engine [--minutes 15] [--lives 6] [--smoke] [--out FILE.md]

Out: benchmarks/results/engine-cpu.md (or -gpu). The m-UNet of configs/demo.yaml on noise; one thread a rank. Rows take turns in one
process, in several lives of it: where a life puts a row's tensors in memory makes a few per cent, for all its rounds.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy import stats

from benchmarks.common.processes import ROOT

CONFIG = ROOT / "configs/demo.yaml"
_ALIKE = 10
"""Micro-batches a step at which each of two ranks computes as much between two averages as one of 4 GPUs with recommended.yaml:
some 3,000 multiply-adds forward a parameter (`mlseg model --no-time`: gmac, parameters)."""


@dataclass(frozen=True)
class Section:
    """One table of the page."""

    title: str
    world: int
    micro_batches: int


def main() -> int:
    """Time one rank, then two, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=15.0, help="measuring, all tables together")
    parser.add_argument("--lives", type=int, default=6, help="processes that each table is measured in")
    parser.add_argument("--smoke", action="store_true", help="small views, two lives of a round: does it run?")
    device = "gpu" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--out", type=Path, default=ROOT / f"benchmarks/results/engine-{device}.md")
    options = parser.parse_args()
    train = {
        "patch_px": 32 if options.smoke else 128,
        "quads_per_micro_batch": 1 if options.smoke else 2,
        "precision": "bf16" if device == "gpu" else "fp32",
        "threads": 1,
    }
    sections = [Section("One rank: what an engine costs", 1, 2)]
    if device == "cpu" or torch.cuda.device_count() > 1:
        sections += [
            Section("Two ranks, a micro-batch each a step: what working together costs", 2, 2),
            Section("Two ranks, as much work a step and parameter as the recommended network's on 4 GPUs", 2, _ALIKE),
        ]
    lives = 2 if options.smoke else options.lives
    job = {
        "config_file": str(CONFIG),
        "seconds": 0 if options.smoke else 60 * options.minutes / len(sections) / lives,
        "least": 1 if options.smoke else 2,
    }
    words = [] if options.smoke else [f"--minutes {options.minutes:g}", f"--lives {lives}"]
    command = " ".join(["python -m benchmarks.engine", *words])
    page = _page(command, train, {section: _race(job, train, section, lives) for section in sections})
    if not options.smoke:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)
    print(page)
    return 0


Times = dict[str, list[np.ndarray]]
"""Row -> for each life, seconds of a step, (ranks, rounds)."""


def _race(job: dict[str, object], train: dict[str, object], section: Section, lives: int) -> Times:
    times: Times = {}
    for life in range(lives):
        steps = {**train, "micro_batches_per_step": section.micro_batches}
        for name, seconds in _live({**job, "train": steps, "seed": life}, section.world).items():
            times.setdefault(name, []).append(seconds)
    return times


def _live(job: dict[str, object], world: int) -> dict[str, np.ndarray]:
    with tempfile.TemporaryDirectory(prefix="mlseg-engine-") as out:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
        command = [*start, "-m", "benchmarks.engine.race", json.dumps(job), out]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stderr[-4000:])
        ranks = [json.loads((Path(out) / f"{rank}.json").read_text()) for rank in range(world)]
    return {name: np.array([rank[name] for rank in ranks]) for name in ranks[0]}


def interval(ratios: list[float]) -> tuple[float, float, float]:
    """Mean of ratios, one a life, and its 95 % interval (Student's t)."""
    middle, error = float(np.mean(ratios)), float(stats.sem(ratios))
    reach = error * float(stats.t.ppf(0.975, len(ratios) - 1))
    return middle, middle - reach, middle + reach


def _page(command: str, train: dict[str, object], found: dict[Section, Times]) -> str:
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{len(os.sched_getaffinity(0))} cores"
    samples = 4 * int(str(train["quads_per_micro_batch"]))
    lines = [
        "# Engine",
        "",
        f"`{command}` on {where}, Python {platform.python_version()}, torch {torch.__version__},"
        f" load {os.getloadavg()[0]:.1f} at the end.",
        "",
        f"The m-UNet of `{CONFIG.relative_to(ROOT)}`, views of {train['patch_px']} px, micro-batches of {samples},"
        f" {train['precision']}, one thread a rank.",
        "A ratio is the mean over processes of the median over their rounds; intervals (95 %) are over processes.",
    ]
    for section, times in found.items():
        lines += ["", f"## {section.title}", "", *_table(section, times)]
    return "\n".join(lines) + "\n"


def _table(section: Section, times: Times) -> list[str]:
    reference, *_ = times
    # The bare loop does not wait for another rank, so each rank's time counts; the others' steps end with the slowest rank.
    alone = [seconds.mean(axis=0) for seconds in times[reference]]
    against = "overhead over the bare loop" if section.world == 1 else "throughput / 2 bare loops side by side"
    lines = [
        f"{section.micro_batches} micro-batches a step; {len(alone)} processes,"
        f" {sum(len(rounds) for rounds in alone)} rounds.",
        "",
        f"| | step, ms | {against} (95 %) |",
        "|---|---:|---|",
    ]
    for name, lives in times.items():
        taken = alone if name == reference else [seconds.max(axis=0) for seconds in lives]
        pairs = list(zip(taken, alone, strict=True))
        step = 1000 * np.median(np.concatenate(taken))
        shown = "–"
        if name != reference and section.world == 1:
            shown = "{:+.1%} ({:+.1%} … {:+.1%})".format(*interval([float(np.median(t / a)) - 1 for t, a in pairs]))
        elif name != reference:
            shown = "{:.1%} ({:.1%} … {:.1%})".format(*interval([float(np.median(a / t)) for t, a in pairs]))
        lines.append(f"| {name} | {step:.1f} | {shown} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
