"""A run folder in, one RoundScore a published round out.

Slide by slide: its truth is rasterised once and held against all rounds, so memory is that of one slide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.common.truth import SlideTruth, open_truth, train_slides
from benchmarks.pseudo_labels.score import CODES, COUNT, GROUPS, NOTHING, Group, RoundScore
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.corpus import BadPair, Corpus, PairRef
from mlseg_dist.data.labels import LEVELS, VIEWS, Accepting, ViewName, of_round
from mlseg_dist.data.once import Once, centres_of, scales_of
from mlseg_dist.labelling.reliability import Reliability, measured
from mlseg_dist.labelling.thresholds import expected, precision_at, shares_of_tissue
from mlseg_dist.run_folder import is_cleaned, labels_folder, shards_folder
from shards.manifest import Manifest, read_seeds
from shards.sample import decode_label
from shards.tar import NO_SEED


def published_rounds(run: Path) -> list[int]:
    """Numbers of the rounds whose labels are there, ascending; not those that `mlseg clean` removed."""
    manifests = (run / "data").glob("labels-*/manifest.json")
    found = sorted(
        int(number) for path in manifests if (number := path.parent.name.removeprefix("labels-")).isdecimal()
    )
    return [number for number in found if not is_cleaned(labels_folder(run, number))]


def score(run: Path) -> list[RoundScore]:
    """Every published round of a campaign, finished or not; [] while there is none.

    Raises UserError for a run without truth, BadPair for damaged shards.
    """
    config, slides = RunFolder(run).config(), train_slides(run)
    numbers = published_rounds(run)
    if not numbers:
        return []
    classes = config.training_classes
    pairs = _Pairs(Corpus(shards_folder(run), classes))
    rounds = [
        _Round(number, Corpus(shards_folder(run), classes, labels_folder(run, number)), pairs) for number in numbers
    ]
    groups = groups_of(pairs.corpus.manifest)
    cv2.setNumThreads(1)
    for slug, places in pairs.by_slide.items():
        if slug not in slides:
            raise UserError(f"train slide {slug} is not in the truth table", run, "Restore the phantom's truth.csv.")
        with open_truth(slides[slug], config.shards) as truth:
            for place in places:
                _count_pair(pairs, place, truth, rounds, groups[slug])
    return [one.score(groups) for one in rounds]


def groups_of(corpus: Manifest) -> dict[str, Group]:
    """Slug of a train slide -> whether people annotated any train slide of its lab and scanner."""
    annotated = {shard.slide for shard in corpus.of_splits("train") if shard.pixels}
    slides = [slide for slide in corpus.slides if slide.split == "train"]
    known = {(slide.source, slide.scanner) for slide in slides if slide.slug in annotated}
    return {slide.slug: "known" if (slide.source, slide.scanner) in known else "other" for slide in slides}


class _Pairs:
    """The train pairs of a corpus: where they lie, and which pixels of theirs count."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.side = round(corpus.manifest.views["store_px"])
        self.numbers = corpus.numbers("train")
        self.refs = corpus.refs("train")
        self.centres = centres_of(corpus, self.refs, scales_of(corpus, self.refs))
        self.once = Once(corpus, self.refs, self.centres, self.side)
        self._index_of = {place: index for index, place in enumerate(self.once.kept)}
        self.unannotated = read_seeds(corpus.folder, corpus.manifest)[self.numbers] == NO_SEED
        self.by_slide: dict[str, list[int]] = {}
        """Slug -> places in refs."""
        for place, ref in enumerate(self.refs):
            self.by_slide.setdefault(ref.slide, []).append(place)
        self.training_of = corpus.training_class_of

    def centre(self, place: int) -> tuple[int, int]:
        row, column = self.centres[place].tolist()
        return row, column

    def counting(self, place: int, view: ViewName, truth: SlideTruth) -> np.ndarray | None:
        """True fine classes of the pair's own pixels that nobody labelled, uint8 (S, S), 255 elsewhere; None: there is none."""
        index = self._index_of.get(place)
        owned = self.once.owned(index, view) if index is not None else None
        if index is None or owned is None:
            return None
        counts = owned & (self.once.whole_label(index, view) == IGNORED)
        if not counts.any():
            return None
        fine = truth.view(view, self.centre(place), self.side)
        counts &= self.training_of[fine] != IGNORED
        fine[~counts] = IGNORED
        return fine if counts.any() else None


def _count_pair(pairs: _Pairs, place: int, truth: SlideTruth, rounds: Sequence["_Round"], group: Group) -> None:
    fine = {view: pairs.counting(place, view, truth) for view in VIEWS}
    for one in rounds:
        one.count(pairs.refs[place], fine, group)
    if pairs.unannotated[place]:
        middle = pairs.side // 2
        at_centre = int(truth.view("high", pairs.centre(place), pairs.side)[middle, middle])
        for one in rounds:
            one.count_drawn(place, int(pairs.training_of[at_centre]), group)


@dataclass
class _Round:
    """Counts of one round, as they grow."""

    number: int
    corpus: Corpus
    pairs: _Pairs
    stride: int = 1
    counts: dict[ViewName, dict[Group, np.ndarray]] = field(default_factory=dict)
    drawn: dict[Group, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fine = len(self.corpus.manifest.classes)
        self.counts = {view: {group: np.zeros((fine, CODES), np.int64) for group in GROUPS} for view in VIEWS}
        self.drawn = {group: np.zeros((COUNT + 1, COUNT + 1), np.int64) for group in GROUPS}
        self._drawn_for = self.corpus.drawing_classes[self.pairs.numbers]

    def count(self, ref: PairRef, fine: Mapping[ViewName, np.ndarray | None], group: Group) -> None:
        """fine: see _Pairs.counting."""
        if all(truth is None for truth in fine.values()):
            return
        members = self.corpus.read_sidecar(ref)
        if members is None:
            raise BadPair(f"{self.corpus.labels_folder}: round {self.number} does not label {ref.key}")
        for view, truth in fine.items():
            if truth is not None:
                codes = decode_label(members[f"{view}.png"])
                self.stride = truth.shape[0] // codes.shape[0]
                self.counts[view][group] += _counted(truth, codes, len(self.corpus.manifest.classes))

    def count_drawn(self, place: int, true_class: int, group: Group) -> None:
        self.drawn[group][min(true_class, COUNT), min(int(self._drawn_for[place]), COUNT)] += 1

    def pool(self, groups: Mapping[str, Group]) -> dict[Group, np.ndarray]:
        """See RoundScore.pool."""
        found = {group: np.zeros(IGNORED + 1, np.int64) for group in GROUPS}
        for ref, number in zip(self.pairs.refs, self._drawn_for, strict=True):
            found[groups[ref.slide]][number] += 1
        return {group: counts[:COUNT] for group, counts in found.items()}

    def score(self, groups: Mapping[str, Group]) -> RoundScore:
        assert self.corpus.round is not None and self.corpus.labels_folder is not None
        facts, manifest = self.corpus.round.facts, self.corpus.manifest
        accepting, reliability = of_round(facts), measured(self.corpus.labels_folder)
        return RoundScore(
            self.number,
            facts["teacher"],
            self.stride,
            accepting,
            manifest.classes,
            tuple(int(number) for number in self.corpus.training_class_of[: len(manifest.classes)]),
            self.counts,
            self.drawn,
            self.pool(groups),
            _expected(facts, accepting, reliability),
            None if reliability is None else _expected_at(reliability),
        )


def _counted(fine: np.ndarray, codes: np.ndarray, classes: int) -> np.ndarray:
    """int64 (classes, CODES). fine: (S, S), 255 does not count; codes: (S/stride, S/stride)."""
    stride = fine.shape[0] // codes.shape[0]
    truth = fine[stride // 2 :: stride, stride // 2 :: stride]
    counts = truth != IGNORED
    cells = truth[counts].astype(np.int64) * CODES + np.minimum(codes[counts], NOTHING)
    return np.bincount(cells, minlength=classes * CODES).reshape(classes, CODES)


def _expected(facts: Mapping[str, Any], accepting: Accepting, found: Reliability | None) -> dict[str, Any] | None:
    """As the manifest says, or, in earlier rounds, worked out from what was measured."""
    if facts.get("expected") is not None or found is None:
        known: dict[str, Any] | None = facts.get("expected")
        return known
    return asdict(expected(accepting, found))


def _expected_at(found: Reliability) -> dict[str, dict[str, list[float | None]]]:
    """View -> class -> precision that is expected from each level on."""
    prior = shares_of_tissue(found)
    return {
        view: {
            name: [precision_at(found.val[view], prior, number, level) for level in range(LEVELS)]
            for number, name in enumerate(CLASSES)
        }
        for view in VIEWS
    }
