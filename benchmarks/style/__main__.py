"""What gan_style costs: a step of a generator's training, and styling shards; each against its networks alone.

    python -m benchmarks.style [--config FILE] [--pairs N] [--store PX] [--steps N] [--rounds N] [--out FILE.md]

Real parts: train_pair (reading, crops, both networks, checkpoint), the map that styles shards (reading, network, JPEG, hashes).
Takes a GPU when there is one. Out: benchmarks/results/style-cpu.md, or style-cuda.md.
"""

import argparse
import os
import platform
import shlex
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import cv2
import torch

from benchmarks.common.photo_corpus import write_corpus
from benchmarks.common.processes import ROOT
from launch.config import load_campaign
from mlseg_core.errors import UserError
from mlseg_core.exactly_once.run import run_units
from mlseg_core.logs import log_as_command
from mlseg_dist.device import device_for, device_kind, settle_cpu
from mlseg_dist.labelling.loading import InThreads
from mlseg_dist.labelling.pipeline import batches_of
from mlseg_dist.style import work
from mlseg_dist.style.config import StyleConfig
from mlseg_dist.style.pairs import StylePair
from mlseg_dist.style.patches import Crops
from mlseg_dist.style.stylist import Stylist
from mlseg_dist.style.train import Trainer, train_pair
from shards.manifest import read_manifest
from shards.tar import ShardReader

_WARM = 2
_PAPER = ROOT / "configs/paper.yaml"
PAIR = StylePair("scanner0", "scanner1")


def main(arguments: list[str]) -> int:
    """Measure, write the page."""
    log_as_command()
    options = _parser().parse_args(arguments)
    device = device_for()
    try:
        campaign = load_campaign(options.config, ["slides=slides.csv"] if options.config == _PAPER else [])
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    bf16 = device.type == "cuda" and campaign.train.precision == "bf16"
    cv2.setNumThreads(1)
    settle_cpu(options.threads if device.type == "cpu" else 0)
    config = campaign.style.model_copy(
        update={"pairs": ((PAIR.source, PAIR.target),), "steps": options.steps, "log_every": 10**6}
    )
    with tempfile.TemporaryDirectory(prefix="mlseg-style-", dir=options.folder) as name:
        bench = Bench(config, write_corpus(Path(name) / "shards", options.pairs, 2, options.store), bf16, options)
        rounds = [bench.round(number) for number in range(-1, options.rounds)][1:]
    out = options.out or ROOT / f"benchmarks/results/style-{device.type}.md"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(markdown(rounds, campaign.style, options, arguments))
    print(out.read_text())
    return 0


class Bench:
    """A corpus of two scanners, a generator of few steps that is trained there first."""

    def __init__(self, config: StyleConfig, shards: Path, bf16: bool, options: argparse.Namespace) -> None:
        self.config, self.shards, self.bf16, self.options = config, shards, bf16, options
        self.manifest = read_manifest(shards / "manifest.json")
        self._train(shards.parent)
        self.stylist = Stylist(shards.parent, PAIR, 0, bf16)
        self.trainer = Trainer(config, PAIR, 0, self.manifest.ratio, bf16)

    def round(self, number: int) -> dict[str, float]:
        """Row -> steps/s, or pairs/s; rows in turn, forwards and backwards."""
        rows = {"step alone": self.step, "training": self.train, "forward alone": self.forward, "styling": self.apply}
        found = {}
        for name in reversed(rows) if number % 2 else rows:
            found[name] = rows[name]()
            print(f"round {number + 1} {name}: {found[name]:.3f}/s", file=sys.stderr, flush=True)
        return {name: found[name] for name in rows}

    def step(self) -> float:
        """Both networks on crops that lie on the device."""
        side, device = self.config.crop_px, self.trainer.device
        shape = (self.config.batch, side, side, 3)
        crops = [Crops(*(torch.randint(0, 256, shape, dtype=torch.uint8).to(device) for _ in range(2))) for _ in "ab"]
        for number in range(_WARM + self.options.steps):
            if number == _WARM:
                _settle(device)
                begun = time.perf_counter()
            self.trainer.step(number, *crops)
        _settle(device)
        return self.options.steps / (time.perf_counter() - begun)

    def train(self) -> float:
        """As the campaign does it, with its checkpoint at the end."""
        with tempfile.TemporaryDirectory(dir=self.shards.parent) as name:
            return self._train(Path(name))

    def _train(self, out: Path) -> float:
        steps = _WARM + self.options.steps
        ends: list[float] = []

        def advance(step: int) -> None:
            if step in (_WARM, steps):
                _settle(device_for())
                ends.append(time.perf_counter())

        threads, workers = self.options.threads, self.options.workers
        config = self.config.model_copy(update={"steps": steps})
        train_pair(config, self.shards, out, PAIR, 0, bf16=self.bf16, threads=threads, workers=workers, advance=advance)
        return self.options.steps / (ends[1] - ends[0])

    def forward(self) -> float:
        """The generator on batches that lie decoded in memory."""
        side = int(self.manifest.views["store_px"])
        loader = InThreads(side, pinned=self.stylist.device.type == "cuda")
        (entry,) = [shard for shard in self.manifest.shards if shard.slide == "s000"]
        with ShardReader(self.shards / entry.name, self.manifest.members) as shard:
            batches = [loader.batch(rows) for rows in batches_of(len(shard), self.config.apply_batch)]
            for batch in batches:
                for position in range(len(batch.rows)):
                    batch.read(shard, position)
        begun = time.perf_counter()
        for batch in batches:
            self.stylist.style(*batch.views(), [str(row) for row in batch.rows])
        _settle(self.stylist.device)
        return entry.samples / (time.perf_counter() - begun)

    def apply(self) -> float:
        """The map of a campaign: read, decode, style, encode, write, sync, index, hash."""
        threads, workers = self.options.threads, self.options.workers
        found = work.units(
            self.config, self.shards, self.shards.parent, 0, bf16=self.bf16, threads=threads, workers=workers
        )
        with tempfile.TemporaryDirectory(dir=self.shards.parent) as name:
            begun = time.perf_counter()
            failed = run_units(found, work.style, name, describe=work.describe)
            seconds = time.perf_counter() - begun
        assert not failed, failed
        return sum(unit.cost for unit in found) / seconds


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def markdown(
    rounds: list[dict[str, float]], paper: StyleConfig, options: argparse.Namespace, command: list[str]
) -> str:
    """rounds: row -> rate."""
    middle = {name: median(each[name] for each in rounds) for name in rounds[0]}

    def row(title: str, name: str, of: str, unit: str) -> str:
        rates, shares = [each[name] for each in rounds], [each[name] / each[of] for each in rounds]
        spread = f"{min(rates):.2f}–{max(rates):.2f}"
        share = f"{median(shares):.1%} ({min(shares):.1%}–{max(shares):.1%})" if name != of else "100 %"
        return f"| {title} | {middle[name]:.2f} {unit} | {spread} | {share} |"

    hours = paper.steps / middle["training"] / 3600
    where, cores = device_kind(device_for()), len(os.sched_getaffinity(0))
    return "\n".join(
        [
            "# gan_style: generators and styled shards",
            "",
            f"`{shlex.join(['python', '-m', 'benchmarks.style', *command])}` on {where}, {cores} cores, "
            f"Python {platform.python_version()}, torch {torch.__version__}.",
            "",
            f"Networks of `{options.config.name}`: a step takes {paper.batch} + {paper.batch} pairs of {paper.crop_px} px, "
            f"styling both views of {options.store} px, {paper.apply_batch} pairs a forward. "
            f"{len(rounds)} rounds, rows in turn; slowest–fastest in brackets.",
            "",
            "| | rate | slowest–fastest | of the networks alone |",
            "|---|---:|---:|---:|",
            row("a step of both networks, crops on the device", "step alone", "step alone", "steps/s"),
            row("**training**: read, crop, step", "training", "step alone", "steps/s"),
            row("the generator's forward, views decoded before", "forward alone", "forward alone", "pairs/s"),
            row(
                "**styling shards**: read, decode, style, encode, write, index, hash",
                "styling",
                "forward alone",
                "pairs/s",
            ),
            "",
            f"At this rate a generator of {paper.steps} steps takes {hours:.1f} h, and 12 M pairs, each in one other style, "
            f"{12e6 / middle['styling'] / 3600:.0f} h.",
            "",
        ]
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.style", description=(__doc__ or "").splitlines()[0])
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--config", type=Path, default=_PAPER, metavar="FILE", help="default: configs/paper.yaml")
    parser.add_argument("--pairs", type=int, default=32, help="of the corpus made here (default: 32)")
    parser.add_argument("--store", type=int, default=768, help="side of the stored views, px (default: 768)")
    parser.add_argument("--steps", type=int, default=6, help="of training that are timed (default: 6)")
    parser.add_argument("--workers", type=int, default=cores, help="threads that read and write (default: cores)")
    parser.add_argument("--threads", type=int, default=cores, help="of torch, on a CPU (default: cores)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, metavar="DIR", help="for shards; default: a temporary one")
    parser.add_argument("--out", type=Path, metavar="FILE.md", help="where the page goes")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
