"""How much there is to learn from a person about each patch: three scores, from the sidecars of the newest rounds alone.

In: a run folder with at least one round of labels. Out: for each slide and reason the patches with the highest scores. Scores are
shares of the patch's area, so that they can be compared with what a person's time costs, which is area too.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from mlseg_core.errors import UserError
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.data.corpus import BadPair, Corpus, PairRef
from mlseg_dist.data.labels import LEVELS
from mlseg_dist.run_folder import is_cleaned, labels_folder, shards_folder
from shards.sample import decode_label, position_of
from shards.tar import BadShard, ShardReader

Reason = Literal["conflict", "disagreement", "uncertainty"]
REASONS: tuple[Reason, ...] = ("conflict", "disagreement", "uncertainty")
BORDER_UM = 20.0
"""A conflict narrower than this is a border that was drawn by hand, which is off by some µm everywhere."""
_SURE = 0.5
"""Least probability of a class that contradicts a person."""


@dataclass(frozen=True)
class Patch:
    """A patch of the training split and what speaks for looking at it.

    center, size: level-0 px (x, y) of the slide. scores: reason -> 0 to 1. shares: class -> part of the patch that the newest
    teacher calls so. human: part that people annotated. clash: (people's class, teacher's class) of most of the conflict, or None.
    """

    ref: PairRef
    center: tuple[float, float]
    size: tuple[float, float]
    scores: Mapping[Reason, float]
    shares: Mapping[str, float]
    human: float
    clash: tuple[str, str] | None


def rounds_to_compare(run: Path, newest: int | None = None) -> list[int]:
    """Numbers of the newest round and of those before it whose labels are there, at most three, ascending.

    newest: the round to judge by; None: the newest. Raises UserError when there is none.
    """
    found = []
    for path in (run / "data").glob("labels-*/manifest.json"):
        number = path.parent.name.removeprefix("labels-")
        if number.isdecimal() and not is_cleaned(path.parent):
            found.append(int(number))
    found.sort()
    if newest is not None and newest not in found:
        there = ", ".join(map(str, found)) or "none"
        raise UserError(f"no labels of round {newest}", "--round", f"There are those of rounds: {there}.")
    if not found:
        raise UserError("no labels of any round", run / "data", "Let the campaign finish its first round of labels.")
    last = found[-1] if newest is None else newest
    return [number for number in found if number <= last][-3:]


def best_patches(
    run: Path, training_classes: Mapping[str, int], patch_px: int, rounds: Sequence[int], most: int, workers: int
) -> list[Patch]:
    """Return the patches that are among the `most` highest of their slide by some reason, in the corpus's order.

    patch_px: side of the part of a stored view that is judged, px of the high view. rounds: ascending; the last one's teacher is
    judged. A patch that cannot be read is left out. Raises UserError, BadShard.
    """
    corpus = Corpus(shards_folder(run), training_classes)
    shards = [number for number, entry in enumerate(corpus.manifest.shards) if entry.split == "train"]
    judge = partial(_of_shard, run, dict(training_classes), patch_px, tuple(rounds), most)
    found: list[Patch] = []
    if workers == 1 or len(shards) < 2:
        for number in shards:
            found += judge(number)
    else:
        with ProcessPoolExecutor(min(workers, len(shards)), get_context("spawn")) as pool:
            for of_shard in pool.map(judge, shards):
                found += of_shard
    slides: dict[str, list[Patch]] = {}
    for patch in found:
        slides.setdefault(patch.ref.slide, []).append(patch)
    return [patch for of_slide in slides.values() for patch in _highest(of_slide, most)]


def _of_shard(
    run: Path, training_classes: Mapping[str, int], patch_px: int, rounds: Sequence[int], most: int, number: int
) -> list[Patch]:
    cv2.setNumThreads(1)
    corpora = [Corpus(shards_folder(run), training_classes, labels_folder(run, one)) for one in rounds]
    corpus, entry = corpora[-1], corpora[-1].manifest.shards[number]
    with ShardReader(corpus.folder / entry.name, corpus.manifest.members) as reader:
        keys = [key.decode() for key in reader.index["key"]]
    patches = []
    for row, key in enumerate(keys):
        ref = PairRef(number, row, key, entry.slide, entry.split)
        try:
            members = corpus.read(ref, {"high.png", "json"})
            sidecars = [one.read_sidecar(ref) for one in corpora]
        except (BadPair, BadShard):
            continue
        codes = [decode_label(sidecar["high.png"]) for sidecar in sidecars if sidecar is not None]
        if len(codes) < len(rounds):
            continue
        human = corpus.training_class_of[decode_label(members["high.png"])]
        views = corpus.manifest.views
        step_um = views["high_mpp"] * human.shape[0] / codes[-1].shape[0]
        patches.append(_patch(ref, members["json"], human, codes, patch_px, step_um, views["high_mpp"]))
    return _highest(patches, most)


def _patch(
    ref: PairRef,
    info: bytes,
    human: np.ndarray,
    codes: Sequence[np.ndarray],
    patch_px: int,
    step_um: float,
    high_mpp: float,
) -> Patch:
    stride = human.shape[0] // codes[-1].shape[0]
    side = patch_px // stride
    mine = middle(human[stride // 2 :: stride, stride // 2 :: stride], side)
    scores, clash = judged(mine, [middle(one, side) for one in codes], step_um)
    newest = middle(codes[-1], side)
    called = np.bincount((newest // LEVELS)[newest != IGNORED], minlength=len(CLASSES)) / newest.size
    mpp = json.loads(info)["mpp0"]
    return Patch(
        ref,
        position_of(ref.key),
        (patch_px * high_mpp / mpp[0], patch_px * high_mpp / mpp[1]),
        scores,
        dict(zip(CLASSES, called.tolist(), strict=False)),
        float((mine != IGNORED).mean()),
        clash,
    )


def middle(cells: np.ndarray, side: int) -> np.ndarray:
    """Return the `side` x `side` cells in the middle of a square map."""
    edge = (cells.shape[0] - side) // 2
    return cells[edge : edge + side, edge : edge + side]


def judged(
    human: np.ndarray, codes: Sequence[np.ndarray], step_um: float
) -> tuple[dict[Reason, float], tuple[str, str] | None]:
    """Return reason -> score of a patch, and the classes of most of its conflict.

    human: training classes, uint8 (S, S), 255 where nobody annotated. codes: of each round (data/labels.py), same shape, the newest
    last. step_um: side of a cell, µm. Uncertainty and disagreement count what nobody annotated, conflict what people did.
    """
    newest = codes[-1]
    said = newest != IGNORED
    free = said & (human == IGNORED)
    probability = (newest % LEVELS + 0.5) / (LEVELS - 1)
    fewest = 1 / len(CLASSES)
    doubt = np.clip((1 - probability) / (1 - fewest), 0, 1)
    classes = [one // LEVELS for one in codes]
    other = np.zeros(human.shape, bool)
    for before, codes_before in zip(classes[:-1], codes[:-1], strict=True):
        other |= (before != classes[-1]) & (codes_before != IGNORED)
    against = said & (human != IGNORED) & (classes[-1] != human) & (probability >= _SURE)
    wide = max(1, round(BORDER_UM / step_um)) | 1
    against = cv2.morphologyEx(against.astype(np.uint8), cv2.MORPH_OPEN, np.ones((wide, wide), np.uint8)) > 0
    scores: dict[Reason, float] = {
        "conflict": float(against.mean()),
        "disagreement": float((other & free).mean()),
        "uncertainty": float((doubt * free).mean()),
    }
    if not against.any():
        return scores, None
    pairs = np.bincount(human[against].astype(int) * len(CLASSES) + classes[-1][against], minlength=len(CLASSES) ** 2)
    theirs, its = divmod(int(pairs.argmax()), len(CLASSES))
    return scores, (CLASSES[theirs], CLASSES[its])


def _highest(patches: Sequence[Patch], most: int) -> list[Patch]:
    """Return those that are among the `most` highest by some reason, in the order given; none that scores 0 by all."""
    kept: set[int] = set()
    for reason in REASONS:
        of_reason = np.array([patch.scores[reason] for patch in patches])
        kept |= {int(i) for i in np.argsort(-of_reason, kind="stable")[:most] if of_reason[i] > 0}
    return [patches[i] for i in sorted(kept)]
