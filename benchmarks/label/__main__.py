"""How much of the network's own rate labelling keeps: forward alone, ours, and one thing after another, in turn.

    python -m benchmarks.label [--config FILE] [--steps NAME ...] [--pairs N] [--store PX] [--rounds N] [--out FILE.md]

Teachers have random weights: what they answer changes the size of the labels, not the rate. Takes a GPU when there is one.
Out: benchmarks/results/label-cpu.md, or label-cuda.md.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import cv2

from benchmarks.common.photo_corpus import training_classes, write_corpus
from benchmarks.common.processes import ROOT
from benchmarks.label.page import Rounds, markdown
from benchmarks.label.rows import Bench, said
from launch.config import load_campaign
from mlseg_core.errors import UserError
from mlseg_dist.config import LearningConfig
from mlseg_dist.device import device_for, settle_cpu
from mlseg_dist.run_folder import shards_folder
from shards.manifest import read_manifest

_SHARDS = 2


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    device = device_for()
    cv2.setNumThreads(1)
    settle_cpu(options.threads if device.type == "cpu" else 0)
    found: dict[str, Rounds] = {}
    try:
        campaign = load_campaign(options.config, ["slides=slides.csv"] if options.config == _CONFIG else [])
        known = [step.name for step in campaign.steps]
        for name in options.steps:
            if name not in known:
                raise UserError(f"no step {name!r}", "--steps", f"There are: {', '.join(known)}.")
        for name in options.steps:
            with tempfile.TemporaryDirectory(prefix="mlseg-label-", dir=options.folder) as folder:
                shards = write_corpus(shards_folder(Path(folder)), options.pairs, _SHARDS, options.store)
                classes = training_classes(read_manifest(shards / "manifest.json"))
                bench = Bench(_one_step(campaign, known.index(name), classes, options, device.type), Path(folder))
                found[name] = race(bench, options.rounds)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    facts = [
        f"{options.pairs} pairs of {options.store} px in {_SHARDS} shards, in the page cache; batches of {options.batch}, "
        f"{'float32' if device.type == 'cpu' else campaign.train.precision}, {options.workers} threads for reading and writing"
        f"{f', {options.threads} of torch' if device.type == 'cpu' else ''}.",
        f"{options.rounds} rounds, rows in turn, forwards and backwards, after one of each that does not count.",
    ]
    out = options.out or ROOT / f"benchmarks/results/label-{device.type}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(markdown(found, facts, arguments, device))
    print(out.read_text())
    return 0


def race(bench: Bench, count: int) -> Rounds:
    """So many timings of each row."""
    rows = {"forward": bench.forward, "ours": bench.ours, "serial": bench.serial}
    if bench.teacher.device.type == "cuda":
        rows["dali"] = bench.on_dali
    rounds: Rounds = {name: [] for name in rows}
    for number in range(-1, count):
        for name in reversed(rows) if number % 2 else rows:
            timing = bench.timed(rows[name])
            print(
                f"{bench.config.steps[0].name} round {number + 1} {name}: {said(timing)}", file=sys.stderr, flush=True
            )
            if number >= 0:
                rounds[name].append(timing)
    return rounds


def _one_step(
    campaign: LearningConfig, index: int, classes: dict[str, int], options: argparse.Namespace, device: str
) -> LearningConfig:
    """A campaign of that step only. A CPU computes in float32."""
    step = campaign.steps[index]
    step = step.model_copy(update={"label": step.label.model_copy(update={"batch": options.batch})})
    precision = "fp32" if device == "cpu" else campaign.train.precision
    train = campaign.train.model_copy(
        update={"workers": options.workers, "threads": options.threads, "precision": precision}
    )
    return campaign.model_copy(update={"steps": (step,), "train": train, "training_classes": classes})


_CONFIG = ROOT / "configs/recommended.yaml"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.label", description=(__doc__ or "").splitlines()[0])
    cores = len(os.sched_getaffinity(0))
    parser.add_argument(
        "--config", type=Path, default=_CONFIG, metavar="FILE", help="default: configs/recommended.yaml"
    )
    parser.add_argument("--steps", nargs="+", default=["base", "master-1"], metavar="NAME", help="whose teachers")
    parser.add_argument("--pairs", type=int, default=64, help="of the corpus made here (default: 64)")
    parser.add_argument("--store", type=int, default=768, help="side of the stored views, px (default: 768)")
    parser.add_argument("--batch", type=int, default=16, help="pairs a forward (default: 16)")
    parser.add_argument("--workers", type=int, default=cores, help="threads that read and write (default: cores)")
    parser.add_argument("--threads", type=int, default=cores, help="of torch, on a CPU (default: cores)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for shards and labels; default: a temporary one")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="where the page goes")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
