"""python -m benchmarks.teacher_selection RUN … [--pairs N …]: the kept checkpoints of a run's trained steps, scored in three ways.

Every patch: each labelled pixel of each patch counts, so often as patches show it (as training validated before). Each pixel
once: in the patch with the nearest centre (as it does now). 1 / coverage: in every patch, weighted by one over their number.
"""

import argparse
import os
import platform
import sys
from itertools import product
from pathlib import Path

import torch

from benchmarks.common.processes import ROOT
from benchmarks.teacher_selection.ways import WAYS, Patches, count
from launch.campaign import load_where
from mlseg_dist.device import settle_cpu
from mlseg_dist.inference import level_ratio
from mlseg_dist.model import build_model
from mlseg_dist.run_folder import phase_folder
from mlseg_dist.training import checkpoint
from mlseg_dist.training.inputs import open_corpus
from mlseg_dist.training.validation_pairs import chosen


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.teacher_selection")
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="a campaign's run folder")
    parser.add_argument(
        "--pairs", type=int, nargs="+", default=[0], help="validation pairs to score (default: as in training)"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/teacher-selection.md", metavar="FILE.md")
    options = parser.parse_args(arguments)
    settle_cpu(1)
    lines = ["# Which checkpoint becomes the teacher, by how overlapping validation patches are counted", ""]
    lines += [f"`python -m benchmarks.teacher_selection {' '.join(arguments)}`, {os.cpu_count()} cores, "
              f"Python {platform.python_version()}, torch {torch.__version__}.", "", *(__doc__ or "").splitlines()[2:]]  # fmt: skip
    same = total = 0
    for run, pairs in product(options.runs, options.pairs):
        table, agreed, steps = of_run(run, pairs)
        lines += ["", f"## {run}", "", *table]
        same, total = same + agreed, total + steps
    lines += ["", f"**All three ways choose the same checkpoint in {same} of {total} steps.**", ""]
    options.out.write_text("\n".join(lines))
    print(options.out.read_text())
    return 0


def of_run(run: Path, pairs: int) -> tuple[list[str], int, int]:
    """Lines of a table, and in how many of how many steps all ways agree. pairs: to score; 0: as in training."""
    config = load_where(run, [])
    corpus = open_corpus(config, 0, run)
    numbers = chosen(corpus.numbers("val"), pairs or config.train.max_validation_samples)
    patches = Patches(corpus, [corpus.ref(int(number)) for number in numbers], config.train.patch_px)
    lines = [
        f"| step | checkpoint | {' | '.join(f'mIoU, {way}' for way in WAYS)} | chosen by |",
        "|---|---|---|---|---|---|",
    ]
    agreed, note = 0, ""
    for step in config.steps:
        model = build_model(step.model, level_ratio(run), config.train.bn_momentum)
        found = {}
        for path in sorted((phase_folder(run, step.name) / "checkpoints").glob("step-*")):
            weights = "ema" if config.train.ema else "model"
            model.load_state_dict(checkpoint.load(path, [weights])[0][weights])
            found[path.name] = count(model, patches, config.train.samples_per_micro_batch)
        best = {way: max(found, key=lambda name: found[name].miou(way)) for way in WAYS}
        agreed += len(set(best.values())) == 1
        for name, counted in found.items():
            figures = " | ".join(f"{counted.miou(way):.4f}" for way in WAYS)
            by = [way for way in WAYS if best[way] == name]
            lines.append(
                f"| {step.name} | {name} | {figures} | {'all' if len(by) == len(WAYS) else ', '.join(by) or '–'} |"
            )
            pixels = [counted.confusions[way].sum() for way in WAYS]
            note = (
                f"{counted.patches} patches of the validation split, {counted.owners} of which own a labelled pixel; "
                f"{pixels[1]:.0f} labelled pixels, each shown {pixels[0] / pixels[1]:.2f} times on average. "
                f"Weights of 1 / coverage add up to {pixels[2]:.1f} pixels."
            )
    return [note, "", *lines], agreed, len(config.steps)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
