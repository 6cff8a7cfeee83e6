"""How much of a pass, from an open slide to maps on disk, is the network's forward.

On a CPU the forward runs in the thread that stitches, so both are timed in one pass, over the same views: what other work on the
machine does to one it does to the other.
"""

import argparse
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch

from benchmarks.whole_slide.passes import Teacher
from mlseg_dist.whole_slide.network import SlideNetwork
from mlseg_dist.whole_slide.writing import write_maps
from shards.slide_table import Slide

GOAL = 0.9


@dataclass
class Pass:
    """Seconds of a pass and of its forwards: by the clock, and of CPU (of all threads; of the forwards' own)."""

    patches: int
    wall: float
    cpu: float
    forward_wall: float = 0.0
    forward_cpu: float = 0.0


def page(options: argparse.Namespace) -> tuple[str, list[str]]:
    lines = [
        f"One {options.split} slide, all of it, views of the stored field's size, overlap 0.25; in the page cache; one thread of "
        f"torch and one that reads; from when the slide is open. {options.rounds} rounds after one that does not count; medians, "
        "and the range of the shares.",
        "",
        "| step | patches | patches/s | CPU ms a patch | forward's share of the time | of the CPU time |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for step in (0, -1):
        teacher = Teacher(options.run, step)
        slide = teacher.slides(options.split)[0]
        found = [_pass(teacher, slide) for _ in range(options.rounds + 1)][1:]
        name = teacher.config.steps[teacher.step].name
        print(name, found, file=sys.stderr, flush=True)
        lines.append(
            f"| {name} | {found[0].patches} | {median(one.patches / one.wall for one in found):.1f} | "
            f"{median(one.cpu / one.patches for one in found) * 1e3:.2f} | "
            f"{_said([one.forward_wall / one.wall for one in found])} | "
            f"{_said([one.forward_cpu / one.cpu for one in found])} |"
        )
    lines += ["", f"Goal: the engine goes at {GOAL:.0%} of the forward's own rate: its share of the time."]
    return "From a slide to maps: how much of it is the network's forward", lines


def _said(shares: list[float]) -> str:
    return f"{median(shares):.1%} ({min(shares):.1%}–{max(shares):.1%})"


def _pass(teacher: Teacher, slide: Slide) -> Pass:
    network = teacher.network
    spent = Pass(0, 0, 0)

    def answers(high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        begun, cpu = time.perf_counter(), time.thread_time()
        found = network.answers(high, low)
        spent.forward_wall += time.perf_counter() - begun
        spent.forward_cpu += time.thread_time() - cpu
        return found

    teacher.network = SlideNetwork(answers, network.device)
    try:
        with (
            tempfile.TemporaryDirectory() as name,
            teacher.over(slide, teacher.config.shards.store_px, annotated=False, threads=1) as engine,
        ):
            maps = Path(name)
            begun, cpu = time.perf_counter(), time.process_time()
            write_maps(engine.strips(), engine.grid, teacher.threshold, maps / "c.tif", maps / "p.tif")
            spent.wall, spent.cpu = time.perf_counter() - begun, time.process_time() - cpu
            spent.patches = engine.facts.patches
    finally:
        teacher.network = network
    return spent
