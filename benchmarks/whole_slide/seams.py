"""How many annotated pixels get another class when the patches' grid is moved by half a step, by views' size, overlap, window."""

import argparse
import sys
import time
from dataclasses import dataclass, field

import numpy as np

from benchmarks.whole_slide.passes import Teacher
from mlseg_dist.config import IGNORED
from mlseg_dist.evaluation.figures import iou, mean_iou
from mlseg_dist.evaluation.patches import confusions
from mlseg_dist.whole_slide.regions import Annotated
from mlseg_dist.whole_slide.stitching import Window, window
from shards.slide_table import Slide

GOAL = 0.01
OVERLAPS = (0.125, 0.25, 0.29, 0.5)


def _line(shape) -> Window:
    """shape(cells from 0 to 1 over the patch, cells from the nearer edge over the overlap) -> weights along a side."""

    def weights(patch: int, step: int) -> np.ndarray:
        at = np.arange(patch) + 0.5
        line = shape(at / patch, np.minimum(at, patch - at) / max(patch - step, 1))
        return np.maximum(np.outer(line, line), 1e-3).astype(np.float32)

    return weights


WINDOWS: dict[str, Window] = {
    "raised cosine over the overlap (ours)": window,
    "raised cosine over the patch": _line(lambda at, edge: np.sin(np.pi * at) ** 2),
    "ramp over the overlap": _line(lambda at, edge: np.clip(edge, 0, 1)),
    "Gaussian, 1/8 of the patch (MONAI, nnU-Net)": _line(lambda at, edge: np.exp(-0.5 * ((at - 0.5) * 8) ** 2)),
    "Gaussian, 1/4 of the patch": _line(lambda at, edge: np.exp(-0.5 * ((at - 0.5) * 4) ** 2)),
    "the middle alone": _line(lambda at, edge: (edge >= 0.5).astype(float)),
    "plain mean": _line(lambda at, edge: np.ones_like(at)),
}


@dataclass
class Seam:
    """Pooled over slides: counts of annotated cells, and of those whose class changed; confusion (3, 3) of the first grid."""

    cells: int = 0
    changed: int = 0
    forwards: float = 0.0
    patches: int = 0
    seconds: float = 0.0
    confusion: np.ndarray = field(default_factory=lambda: np.zeros((3, 3), np.int64))

    @property
    def share(self) -> float:
        return self.changed / self.cells


def page(options: argparse.Namespace) -> tuple[str, list[str]]:
    teacher = Teacher(options.run)
    slides = teacher.slides(options.split)
    stored, patch = teacher.config.shards.store_px, teacher.config.train.patch_px
    sides = sorted({patch, stored, 2 * patch})
    lines = [
        f"Teacher {teacher.config.steps[teacher.step].name} of `{options.run.name}`, {len(slides)} {options.split} slides; "
        f"it learnt on views of {patch} px and labels views of {stored} px. Threshold {teacher.threshold:g}.",
        f"Goal: at most {GOAL:.0%} of the annotated cells change, at no more than 2 forwards per patch area.",
        "",
        "| views | overlap | forwards per patch area | patches | changed | IoU background, tumour, others | mean | s |",
        "|---:|---:|---:|---:|---:|---|---:|---:|",
    ]
    for side in sides:
        for overlap in OVERLAPS:
            seam = _measure(teacher, slides, side, overlap, window)
            lines.append(
                f"| {side} px | {overlap:g} | {seam.forwards:.2f} | {seam.patches} | {_said(seam)} | "
                f"{', '.join(f'{value:.3f}' for value in iou(seam.confusion))} | {mean_iou(seam.confusion):.3f} | "
                f"{seam.seconds:.1f} |"
            )
    lines += ["", f"Windows, views of {stored} px, overlap 0.25:", "", "| window | changed |", "|---|---:|"]
    for name, weights in WINDOWS.items():
        lines.append(f"| {name} | {_measure(teacher, slides, stored, 0.25, weights).share:.3%} |")
    return "What moving the patches by half a step changes", lines


def _said(seam: Seam) -> str:
    reached = seam.share <= GOAL and seam.forwards <= 2
    return f"**{seam.share:.2%}**" if reached else f"{seam.share:.2%}"


def _measure(teacher: Teacher, slides: list[Slide], side: int, overlap: float, weights: Window) -> Seam:
    seam = Seam()
    for slide in slides:
        truth, here = _classes(teacher, slide, side, overlap, False, weights, seam)
        _, there = _classes(teacher, slide, side, overlap, True, weights, None)
        known = truth != IGNORED
        seam.cells += int(known.sum())
        seam.changed += int((here != there)[known].sum())
        seam.confusion += confusions(truth[None], here[None])[0]
    print(f"{side} px, overlap {overlap:g}: {seam.share:.3%}", file=sys.stderr, flush=True)
    return seam


def _classes(
    teacher: Teacher, slide: Slide, side: int, overlap: float, shifted: bool, weights: Window, seam: Seam | None
) -> tuple[np.ndarray, np.ndarray]:
    """(truth, classes) of a slide, uint8 (rows, columns); truth IGNORED where it does not count."""
    config = teacher.config
    to_class = np.full(256, IGNORED, np.uint8)
    for number, name in enumerate(config.shards.fine_classes):
        to_class[number] = config.training_classes[name]
    begun, truth, classes = time.perf_counter(), [], []
    with teacher.over(slide, side, overlap, shifted, weights=weights) as engine:
        assert isinstance(engine.region, Annotated)
        for strip in engine.strips():
            truth.append(to_class[engine.region.fine(strip.top, strip.top + len(strip.region))])
            classes.append(strip.classes(teacher.threshold).numpy().copy())
        if seam is not None:
            seam.forwards = engine.grid.forwards_per_area
            seam.patches += engine.facts.patches
            seam.seconds += time.perf_counter() - begun
    return np.concatenate(truth), np.concatenate(classes)
