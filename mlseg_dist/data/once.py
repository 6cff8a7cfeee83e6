"""Patches of a corpus, each labelled pixel of which counts once: who owns a pixel, and batches of images with their own labels.

In: pairs of a corpus. Out: micro-batches whose labels are 255 wherever another patch owns the pixel: the one whose centre is
nearest. Only positions are compared, and only those of a patch's neighbours, so a corpus of hundreds of thousands of patches
costs a few bytes each.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from mlseg_core.errors import UserError
from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import BadPair, Corpus, PairRef
from mlseg_dist.data.prefetch import ReadAhead, Work, batch_memory
from shards.sample import decode_label, decode_rgb, high_px, position_of


class Ownership:
    """A pixel belongs to the patch whose centre is nearest by Chebyshev distance; of equally near ones, to the first in the list.

    A pixel that some patch shows is therefore owned by a patch that shows it, and the middle of a patch is its own. Positions are
    pixels of one view: a centre (row, column) is the corner at which four pixels meet.
    """

    def __init__(self, slides: Sequence[str], centres_N2: np.ndarray, reach: int) -> None:
        """slides, centres: of each patch, int64 (N, 2). reach: no patch shows pixels farther than this from its centre, px."""
        self.centres, self.reach = np.asarray(centres_N2, np.int64).reshape(-1, 2), reach
        slide = np.unique(np.array(slides, str), return_inverse=True)[1].astype(np.int64)
        cell = self.centres // (2 * reach)
        cell -= cell.min(axis=0, initial=0)
        # A border of empty cells around each slide keeps the neighbours of a cell on its slide.
        self._columns = int(cell[:, 1].max(initial=0)) + 3
        self._key = (slide * (int(cell[:, 0].max(initial=0)) + 3) + cell[:, 0] + 1) * self._columns + cell[:, 1] + 1
        self._order = np.argsort(self._key, kind="stable")
        self._sorted = self._key[self._order]

    def owned(self, patch: int, side: int) -> np.ndarray | None:
        """The patch's own pixels among the `side` x `side` (even) around its centre: bool (side, side), or None for none."""
        others, shifts = self._neighbours(patch)
        place = (
            2 * (np.arange(side, dtype=np.int32) - side // 2) + 1
        )  # twice the offset of a pixel's middle from the centre
        own = np.abs(place)
        mask = np.ones((side, side), bool)
        top, bottom, left, right = 0, side, 0, side  # of the box that holds what is still owned
        for other, (down, along) in zip(others.tolist(), shifts.tolist(), strict=True):
            farthest = max(own[top], own[bottom - 1], own[left], own[right - 1])
            if max(abs(down), abs(along)) > farthest:
                break  # this one, and all that follow, are farther from every pixel in the box
            box = np.s_[top:bottom, left:right]
            mine = np.maximum(own[top:bottom, None], own[left:right])
            theirs = np.maximum(np.abs(place[top:bottom, None] - 2 * down), np.abs(place[left:right] - 2 * along))
            mask[box] &= mine < theirs if other < patch else mine <= theirs
            rows, columns = (np.flatnonzero(mask[box].any(axis=axis)) for axis in (1, 0))
            if not len(rows):
                return None
            top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
            left, right = left + int(columns[0]), left + int(columns[-1]) + 1
        return mask

    def _neighbours(self, patch: int) -> tuple[np.ndarray, np.ndarray]:
        """Patches whose pixels may overlap this one's, nearest first, and their centres relative to it, (n, 2)."""
        around = self._key[patch] + np.arange(-1, 2) * self._columns
        begins = np.searchsorted(self._sorted, around - 1, "left")
        ends = np.searchsorted(self._sorted, around + 1, "right")
        found = np.concatenate([self._order[b:e] for b, e in zip(begins, ends, strict=True)])
        found = found[found != patch]
        shifts = self.centres[found] - self.centres[patch]
        distance = np.abs(shifts).max(axis=1, initial=0)
        near = distance < 2 * self.reach
        found, shifts, distance = found[near], shifts[near], distance[near]
        nearest_first = np.lexsort((found, distance))
        return found[nearest_first], shifts[nearest_first]


def first_of_each_place(slides: Sequence[str], centres_N2: np.ndarray) -> np.ndarray:
    """Ascending indices of the patches that are the first at their place; any other one owns nothing."""
    slide = np.unique(np.array(slides, str), return_inverse=True)[1].astype(np.int64)
    places = np.column_stack([slide, centres_N2])
    return np.sort(np.unique(places, axis=0, return_index=True)[1])


_BUILD_AGAIN = "Build the shards again: `mlseg shards build`."


@dataclass(frozen=True)
class Scales:
    """steps: slide -> µm/px of its level 0 (y, x). unreadable: slide -> why none of its pairs can be read."""

    steps: dict[str, tuple[float, float]]
    unreadable: dict[str, str]


def scales_of(corpus: Corpus, refs: Iterable[PairRef]) -> Scales:
    """What one pair of each slide says. Raises UserError for a pair that does not say it."""
    steps: dict[str, tuple[float, float]] = {}
    unreadable: dict[str, str] = {}
    for ref in refs:
        if ref.slide not in steps:
            try:
                steps[ref.slide] = _level_px(corpus, ref)
            except BadPair as error:
                unreadable.setdefault(ref.slide, str(error))
    return Scales(steps, {slide: why for slide, why in unreadable.items() if slide not in steps})


def _level_px(corpus: Corpus, ref: PairRef) -> tuple[float, float]:
    info = json.loads(corpus.read(ref, {"json"})["json"])
    try:
        x, y = info["mpp0"]
    except (KeyError, ValueError):
        where = corpus.folder / corpus.manifest.shards[ref.shard].name
        raise UserError(f"{ref.key} does not say its slide's µm/px (mpp0)", where, _BUILD_AGAIN) from None
    return float(y), float(x)


def centres_of(corpus: Corpus, refs: Sequence[PairRef], scales: Scales) -> np.ndarray:
    """Centres of the patches (row, column), int64 (N, 2), px of the slide at the high view's µm/px.

    Their keys have them in level-0 px, rounded. Raises UserError for a key without a position.
    """
    high_mpp, ratio = corpus.manifest.views["high_mpp"], corpus.manifest.ratio
    centres = np.empty((len(refs), 2), np.int64)
    for number, ref in enumerate(refs):
        try:
            x, y = position_of(ref.key)
        except ValueError as error:
            raise UserError(str(error), corpus.folder / corpus.manifest.shards[ref.shard].name, _BUILD_AGAIN) from None
        steps = scales.steps[ref.slide]
        centres[number] = [high_px(at, mpp, high_mpp, ratio) for at, mpp in zip((y, x), steps, strict=True)]
    return centres


class Once:
    """Centre patches of `refs` that share the labelled pixels out among themselves; of patches at one place only the first is here.

    refs: those that are left. kept: their places in the list that was given.

    Of hundreds of thousands of patches it keeps positions only; who owns a pixel is worked out when a patch is read. Any thread
    may call.
    """

    def __init__(self, corpus: Corpus, refs: Sequence[PairRef], centres_N2: np.ndarray, patch_px: int) -> None:
        """centres: of centres_of(). patch_px: side of a patch, px of its view; even."""
        self.kept: list[int] = first_of_each_place([ref.slide for ref in refs], centres_N2).tolist()
        self.corpus, self.refs, self.patch_px = corpus, [refs[i] for i in self.kept], patch_px
        slides, centres = [ref.slide for ref in self.refs], centres_N2[self.kept]
        self._shared = {
            view: Ownership(slides, centres // scale, patch_px // 2)
            for view, scale in (("high", 1), ("low", corpus.manifest.ratio))
        }

    def owned(self, index: int, view: str) -> np.ndarray | None:
        """Which pixels of refs[index] are its own, bool (P, P); None: there is none."""
        return self._shared[view].owned(index, self.patch_px)

    def label(self, index: int, view: str) -> np.ndarray | None:
        """Training classes of its own pixels, uint8 (P, P), elsewhere 255; None where it owns no labelled one. Raises BadPair."""
        owned = self.owned(index, view)
        if owned is None:
            return None
        label = np.where(owned, self.whole_label(index, view), IGNORED).astype(np.uint8)
        return label if (label != IGNORED).any() else None

    def whole_label(self, index: int, view: str) -> np.ndarray:
        """Training classes of all its pixels, uint8 (P, P). Raises BadPair."""
        name = f"{view}.png"
        fine = self._decoded(index, name, self.corpus.read(self.refs[index], {name})[name])
        return self.corpus.training_class_of[fine]

    def images(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """(high, low), uint8 (P, P, 3) RGB. Raises BadPair."""
        names = ("high.jpg", "low.jpg")
        members = self.corpus.read(self.refs[index], names)
        high, low = (self._decoded(index, name, members[name]) for name in names)
        return high, low

    def _decoded(self, index: int, name: str, data: bytes) -> np.ndarray:
        """The centre patch of a member."""
        ref = self.refs[index]
        try:
            stored = decode_label(data) if name.endswith(".png") else decode_rgb(data)
        except ValueError as error:
            shard = self.corpus.folder / self.corpus.manifest.shards[ref.shard].name
            raise BadPair(f"{shard}: {ref.key}.{name}: {error}") from error
        edge = (stored.shape[0] - self.patch_px) // 2
        part = slice(edge, edge + self.patch_px)
        return stored[part, part]


@dataclass(frozen=True)
class OwnPatches:
    """A micro-batch as uint8: high, low (B, P, P, 3); label (B, P, P), training classes on the grid of one view."""

    high: torch.Tensor
    low: torch.Tensor
    label: torch.Tensor

    def rows(self, kept: list[int]) -> "OwnPatches":
        """Only those rows."""
        if len(kept) == len(self.label):
            return self
        return OwnPatches(self.high[kept], self.low[kept], self.label[kept])


@dataclass(frozen=True)
class Outcome:
    """What came of reading one patch. counts: it has labelled pixels of its own. bad: why it cannot be read."""

    counts: bool = True
    bad: str = ""


def read_once(
    once: Once,
    parts: Iterable[Sequence[int]],
    view: str,
    threads: int,
    *,
    leave_out_bad: bool = False,
    pinned: bool = False,
    ahead: int = 2,
) -> ReadAhead[Sequence[int], OwnPatches, Outcome]:
    """The patches of each part (indices of once.refs), in order, and the outcome for each row; other rows hold anything.

    A patch that owns no labelled pixel is not decoded. leave_out_bad: a pair that cannot be read is an outcome; else the thread
    raises BadPair. pinned: for a GPU.
    """
    side = once.patch_px

    def begin(part: Sequence[int]) -> Work[OwnPatches, Outcome]:
        shape = (len(part), side, side)
        memory = batch_memory(pinned, high=(*shape, 3), low=(*shape, 3), label=shape)
        rows = {name: memory[name].numpy() for name in memory}
        return Work(OwnPatches(**memory), [partial(read, rows, row, index) for row, index in enumerate(part)])

    def read(rows: dict[str, np.ndarray], row: int, index: int) -> Outcome:
        try:
            label = once.label(index, view)
            if label is None:
                return Outcome(counts=False)
            rows["label"][row] = label
            rows["high"][row], rows["low"][row] = once.images(index)
        except BadPair as error:
            if not leave_out_bad:
                raise
            return Outcome(counts=False, bad=str(error))
        return Outcome()

    return ReadAhead(parts, begin, threads, ahead, name="once")
