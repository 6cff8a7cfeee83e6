"""python -m benchmarks.review RUN [--budget MM2] [--round K]: what `mlseg review` finds, beside what else one could do.

RUN is a run folder whose phantom has written the whole truth of its train slides (docs/experiments.md). All ways look at equal
area, and none may choose regions that overlap by more than a quarter.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.common.truth import open_truth, train_slides
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError, exit_status
from mlseg_core.randomness import generator
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.labels import LEVELS
from mlseg_dist.data.once import centres_of, scales_of
from mlseg_dist.review.choosing import Region, choose
from mlseg_dist.review.files import slides_by_slug
from mlseg_dist.review.scores import REASONS, Patch, Reason, best_patches, middle, rounds_to_compare
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.manifest import SlideEntry
from shards.sample import decode_label
from shards.tar import BadShard

_RANDOM_TRIES = 20


@dataclass
class Found:
    """What lies in the regions of one way of choosing, mm². slides, stains: that have a region.

    teacher: the teacher is wrong and nobody annotated. people: an annotation is wrong. rare: tumour and others without annotation.
    """

    teacher: float = 0.0
    people: float = 0.0
    rare: float = 0.0
    slides: int = 0
    stains: int = 0
    area: float = 0.0


def main(arguments: Sequence[str]) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.review", description=(__doc__ or "").strip())
    parser.add_argument("run", type=Path, metavar="RUN", help="a campaign's run folder")
    parser.add_argument("--budget", type=float, default=3.0, metavar="MM2", help="default: 3")
    parser.add_argument("--round", type=int, metavar="K", help="default: the newest")
    options = parser.parse_args(arguments)
    try:
        print(compare(options.run, options.budget, options.round), end="")
    except (UserError, BadShard, OSError) as error:
        print(f"review: error: {error}", file=sys.stderr)
        return exit_status(error)
    return 0


def compare(run: Path, budget_mm2: float, newest: int | None) -> str:
    """Return the table as Markdown."""
    config = RunFolder(run).config()
    train_slides(run)  # raises UserError before any work where there is no truth
    rounds = rounds_to_compare(run, newest)
    corpus = Corpus(shards_folder(run), config.training_classes, labels_folder(run, rounds[-1]))
    slides, side = slides_by_slug(corpus.manifest), config.train.patch_px
    patch_um = side * corpus.manifest.views["high_mpp"]
    patches = best_patches(run, config.training_classes, side, rounds, sys.maxsize, 1)
    ways: dict[str, list[list[Region]]] = {
        "mlseg review": [choose(patches, slides, patch_um, budget_mm2)],
        **{f"{one} alone": [choose(patches, slides, patch_um, budget_mm2, (one,))] for one in REASONS},
        "plain uncertainty, not spread": [
            choose(patches, slides, patch_um, budget_mm2, ("uncertainty",), spread=False)
        ],
        f"random, mean of {_RANDOM_TRIES}": [
            choose(_shuffled(patches, number), slides, patch_um, budget_mm2, ("uncertainty",), spread=False)
            for number in range(_RANDOM_TRIES)
        ],
    }
    judge = _Judge(run, corpus, side)
    judge.prepare({region.patch.ref.key: region.patch for tries in ways.values() for one in tries for region in one})
    lines = [
        f"Rounds {', '.join(map(str, rounds))} of {run.name}; at most {budget_mm2:g} mm².",
        "",
        "| way | area, mm² | teacher wrong, mm² | annotation wrong, mm² | rare classes, mm² | slides | stains |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, tries in ways.items():
        each = [judge.found(regions, slides) for regions in tries]
        mean = {key: float(np.mean([vars(one)[key] for one in each])) for key in vars(each[0])}
        cells = [f"{mean[key]:.3f}" for key in ("area", "teacher", "people", "rare")]
        lines.append(f"| {name} | {' | '.join(cells)} | {mean['slides']:.0f} | {mean['stains']:.0f} |")
    return "\n".join(lines) + "\n"


def _shuffled(patches: Sequence[Patch], number: int) -> list[Patch]:
    """Return the patches with random scores."""
    values = generator(number, "benchmarks.review").uniform(0.1, 1.0, len(patches))
    scores: list[dict[Reason, float]] = [{reason: float(value) for reason in REASONS} for value in values]
    return [
        Patch(one.ref, one.center, one.size, score, one.shares, one.human, one.clash)
        for one, score in zip(patches, scores, strict=True)
    ]


class _Judge:
    """Holds patches against the truth; each is judged once."""

    def __init__(self, run: Path, corpus: Corpus, side: int) -> None:
        self._run, self._corpus, self._side = run, corpus, side
        self._known: dict[str, np.ndarray] = {}

    def prepare(self, patches: Mapping[str, Patch]) -> None:
        config, truth_of = RunFolder(self._run).config(), train_slides(self._run)
        refs = [patch.ref for patch in patches.values()]
        centres = centres_of(self._corpus, refs, scales_of(self._corpus, refs))
        by_slide: dict[str, list[int]] = {}
        for place, ref in enumerate(refs):
            by_slide.setdefault(ref.slide, []).append(place)
        for slug, places in by_slide.items():
            with open_truth(truth_of[slug], config.shards) as truth:
                for place in places:
                    row, column = centres[place].tolist()
                    self._known[refs[place].key] = self._judged(
                        refs[place], truth.view("high", (row, column), self._side)
                    )

    def _judged(self, ref: PairRef, fine: np.ndarray) -> np.ndarray:
        """Return the shares of the patch: teacher wrong, annotation wrong, rare and not annotated."""
        true = self._corpus.training_class_of[fine]
        label = decode_label(self._corpus.read(ref, {"high.png"})["high.png"])
        human = middle(self._corpus.training_class_of[label], self._side)
        sidecar = self._corpus.read_sidecar(ref)
        assert sidecar is not None
        codes = decode_label(sidecar["high.png"])
        stride = round(self._corpus.manifest.views["store_px"]) // codes.shape[0]
        said = np.kron(middle(codes, self._side // stride), np.ones((stride, stride), np.uint8))
        known, free = (true != IGNORED) & (said != IGNORED), human == IGNORED
        wrong = known & free & (said // LEVELS != true)
        against = (true != IGNORED) & ~free & (human != true)
        rare = known & free & np.isin(true, [CLASSES.index("tumour"), CLASSES.index("others")])
        return np.array([wrong.mean(), against.mean(), rare.mean()])

    def found(self, regions: Sequence[Region], slides: Mapping[str, SlideEntry]) -> Found:
        """Return what the regions hold."""
        parts = sum((self._known[region.patch.ref.key] * region.area_mm2 for region in regions), np.zeros(3))
        slugs = {region.patch.ref.slide for region in regions}
        stains = {slides[slug].stain for slug in slugs}
        area = sum(region.area_mm2 for region in regions)
        return Found(*(float(part) for part in parts), len(slugs), len(stains), area)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
