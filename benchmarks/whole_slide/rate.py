"""The engine, from a slide file to maps on disk, against the network's forward over the same views alone."""

import argparse
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import torch

from benchmarks.whole_slide.passes import Teacher
from mlseg_dist.whole_slide.writing import write_maps
from shards.slide_table import Slide

GOAL = 0.9


def page(options: argparse.Namespace) -> tuple[str, list[str]]:
    lines = [
        f"One {options.split} slide, all of it, views of the stored field's size, overlap 0.25; in the page cache; one thread of "
        "torch and one that reads. Rounds in turn, after one that does not count; medians.",
        "",
        "| step | row | patches/s | slowest–fastest | of forward | CPU s a patch | of forward by CPU time |",
        "|---|---|---:|---:|---:|---:|---:|",
    ]
    for step in (0, -1):
        teacher = Teacher(options.run, step)
        slide = teacher.slides(options.split)[0]
        rows: dict[str, list[tuple[float, float]]] = {"forward alone": [], "**ours**": []}
        for number in range(options.rounds + 1):
            for name, measure in (("forward alone", _forward), ("**ours**", _ours)):
                found = measure(teacher, slide)
                if number:
                    rows[name].append(found)
            print(f"{teacher.config.steps[teacher.step].name} {rows}", file=sys.stderr, flush=True)
        best = {name: median(rate for rate, _ in found) for name, found in rows.items()}
        cpu = {name: median(cpu for _, cpu in found) for name, found in rows.items()}
        for name, found in rows.items():
            rates = [rate for rate, _ in found]
            lines.append(
                f"| {teacher.config.steps[teacher.step].name} | {name} | {best[name]:.1f} | {min(rates):.1f}–{max(rates):.1f} | "
                f"{best[name] / best['forward alone']:.1%} | {cpu[name] * 1e3:.2f} ms | {cpu['forward alone'] / cpu[name]:.1%} |"
            )
    lines += [
        "",
        f"Goal: {GOAL:.0%} of forward alone. The network's own cores read, stitch and write here: by CPU time is what overlapping "
        "can reach, and other load on the machine moves wall time more.",
    ]
    return "From a slide to maps against the network's forward alone", lines


def _forward(teacher: Teacher, slide: Slide) -> tuple[float, float]:
    """Patches/s and CPU s a patch over as many batches as the slide has, all of the same views, read before."""
    side, batch = teacher.config.shards.store_px, teacher.config.evaluate.batch
    with teacher.over(slide, side, annotated=False) as engine:
        part = torch.zeros((batch, side, side, 3), dtype=torch.uint8)
        views = {"high": part, "low": part.clone()}
        rows, columns = engine.grid.patches
        middle = [(rows // 2, column % columns) for column in range(batch)]
        for place, where in enumerate(middle):
            engine._read(where, views, place)
        batches = -(-engine.facts.patches // batch)
        begun, cpu = time.perf_counter(), time.process_time()
        for _ in range(batches):
            teacher.network.answers(views["high"], views["low"])
        return _figures(begun, cpu, engine.facts.patches)


def _ours(teacher: Teacher, slide: Slide) -> tuple[float, float]:
    with tempfile.TemporaryDirectory() as name:
        maps = Path(name)
        begun, cpu = time.perf_counter(), time.process_time()
        with teacher.over(slide, teacher.config.shards.store_px, annotated=False, threads=1) as engine:
            write_maps(engine.strips(), engine.grid, teacher.config.evaluate.threshold, maps / "c.tif", maps / "p.tif")
            return _figures(begun, cpu, engine.facts.patches)


def _figures(begun: float, cpu: float, patches: int) -> tuple[float, float]:
    return patches / (time.perf_counter() - begun), (time.process_time() - cpu) / patches
