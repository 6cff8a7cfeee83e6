"""Training loops in one run, same model and batches: a bare PyTorch loop, DDP, DeepSpeed with ZeRO 0, 1, 2, ours.

    python -m benchmarks.engine [--minutes 12] [--smoke] [--out FILE.md]

Out: benchmarks/results/engine-cpu.md (or -gpu). The m-UNet of configs/demo.yaml on noise; one thread a rank.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

from benchmarks.race import ROOT

CONFIG = ROOT / "configs/demo.yaml"
_RESAMPLES = 4000


def main() -> int:
    """Time one rank, then two, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=12.0, help="measuring, both worlds together")
    parser.add_argument("--smoke", action="store_true", help="small views and three rounds: does it run?")
    device = "gpu" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--out", type=Path, default=ROOT / f"benchmarks/results/engine-{device}.md")
    options = parser.parse_args()
    train = {
        "patch_px": 32 if options.smoke else 128,
        "quads_per_micro_batch": 1 if options.smoke else 2,
        "micro_batches_per_step": 2,
        "precision": "bf16" if device == "gpu" else "fp32",
        "threads": 1,
    }
    job = {
        "config_file": str(CONFIG),
        "train": train,
        "seconds": 0 if options.smoke else 30 * options.minutes,
        "least": 3 if options.smoke else 10,
    }
    worlds = (1,) if device == "gpu" and torch.cuda.device_count() < 2 else (1, 2)
    page = _page(train, {world: _race(job, world) for world in worlds})
    if not options.smoke:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)
    print(page)
    return 0


def _race(job: dict[str, object], world: int) -> dict[str, np.ndarray]:
    """Row -> seconds of a step, (ranks, rounds)."""
    with tempfile.TemporaryDirectory(prefix="mlseg-engine-") as out:
        start = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"]
        command = [*start, "-m", "benchmarks.engines.race", json.dumps(job), out]
        done = subprocess.run(
            command, cwd=ROOT, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(done.stderr[-4000:])
        ranks = [json.loads((Path(out) / f"{rank}.json").read_text()) for rank in range(world)]
    return {name: np.array([rank[name] for rank in ranks]) for name in ranks[0]}


def interval(ratios: np.ndarray, seed: int = 0) -> tuple[float, float, float]:
    """Median of ratios, one a round, and its 95 % bootstrap interval."""
    draws = np.random.default_rng(seed).integers(len(ratios), size=(_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[draws], axis=1), [2.5, 97.5])
    return float(np.median(ratios)), float(low), float(high)


def _page(train: dict[str, object], found: dict[int, dict[str, np.ndarray]]) -> str:
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{len(os.sched_getaffinity(0))} cores"
    samples = 4 * int(str(train["quads_per_micro_batch"]))
    lines = [
        "# Engine",
        "",
        f"`python -m benchmarks.engine` on {where}, Python {platform.python_version()}, torch {torch.__version__},"
        f" load {os.getloadavg()[0]:.1f} at the end.",
        "",
        f"The m-UNet of `{CONFIG.relative_to(ROOT)}`, views of {train['patch_px']} px,"
        f" {train['micro_batches_per_step']} micro-batches of {samples} a step, {train['precision']}, one thread a rank.",
    ]
    for world, times in found.items():
        reference, *_ = times
        # The bare loop does not wait for another rank, so each rank's time counts; the others' steps end with the slowest rank.
        alone = times[reference].mean(axis=0)
        rounds = len(alone)
        title = "One rank: what an engine costs" if world == 1 else f"{world} ranks: what working together costs"
        against = "overhead over the bare loop" if world == 1 else f"throughput / {world} bare loops side by side"
        lines += [
            "",
            f"## {title}",
            "",
            f"{rounds} rounds.",
            "",
            f"| | step, ms | {against} (95 %) |",
            "|---|---:|---|",
        ]
        for name, seconds in times.items():
            taken = alone if name == reference else seconds.max(axis=0)
            middle, low, high = interval(taken / alone - 1 if world == 1 else alone / taken)
            shown = "–" if name == reference else f"{middle:+.1%} ({low:+.1%} … {high:+.1%})"
            if world > 1 and name != reference:
                shown = f"{middle:.1%} ({low:.1%} … {high:.1%})"
            lines.append(f"| {name} | {1000 * np.median(taken):.1f} | {shown} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
