"""Confusion counts of a network on overlapping patches, counted in three ways."""

from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from mlseg_dist.config import IGNORED
from mlseg_dist.data.corpus import Corpus, PairRef
from mlseg_dist.data.once import Once, centres_of, scales_of
from mlseg_dist.evaluation.figures import mean_iou
from mlseg_dist.evaluation.slide_counts import COUNT
from mlseg_dist.inference import normalise
from mlseg_dist.model import answering_view, output_head

WAYS = ("every patch", "each pixel once", "1 / coverage")


@dataclass
class Counted:
    """way -> confusion, float64 (3, 3), rows truth. patches: all; owners: those with labelled pixels of their own."""

    confusions: dict[str, np.ndarray] = field(default_factory=lambda: {way: np.zeros((COUNT, COUNT)) for way in WAYS})
    patches: int = 0
    owners: int = 0

    def miou(self, way: str) -> float:
        return float(mean_iou(self.confusions[way]))


class Patches:
    """The pairs `refs` of a corpus, no two at one place, and how many of them show each pixel."""

    def __init__(self, corpus: Corpus, refs: list[PairRef], patch_px: int) -> None:
        centres = centres_of(corpus, refs, scales_of(corpus, refs))
        self.once = Once(corpus, refs, centres, patch_px)
        self._side, self._ratio = patch_px, corpus.manifest.ratio
        self._centres = centres[self.once.kept]
        self._shown: dict[tuple[str, str], np.ndarray] = {}
        for index, ref in enumerate(self.once.refs):
            for view in ("high", "low"):
                canvas = self._shown.setdefault((ref.slide, view), np.zeros(self._size(view), np.int32))
                canvas[self._window(index, view)] += 1

    def coverage(self, index: int, view: str) -> np.ndarray:
        """How many patches show each pixel of a patch, int32 (P, P)."""
        return self._shown[self.once.refs[index].slide, view][self._window(index, view)]

    def _size(self, view: str) -> tuple[int, int]:
        far = self._centres.max(axis=0) // self._scale(view) + 2 * self._side
        return int(far[0]), int(far[1])

    def _window(self, index: int, view: str) -> tuple[slice, slice]:
        """On a canvas with a margin of a side, as patches reach beyond the slide's corner."""
        begin = self._centres[index] // self._scale(view) + self._side // 2
        row, column = begin.tolist()
        return slice(row, row + self._side), slice(column, column + self._side)

    def _scale(self, view: str) -> int:
        return self._ratio if view == "low" else 1


@torch.no_grad()
def count(model: nn.Module, patches: Patches, batch: int) -> Counted:
    """One pass of the network over all patches."""
    found, once, view = Counted(), patches.once, answering_view(model)  # type: ignore[arg-type]
    found.patches = len(once.refs)
    model.eval()
    for first in range(0, len(once.refs), batch):
        part = range(first, min(first + batch, len(once.refs)))
        images = [once.images(index) for index in part]
        logits = model(*(normalise(torch.from_numpy(np.stack(side))) for side in zip(*images, strict=True)))
        answers = logits[output_head(logits)].argmax(1).numpy()
        for index, answer in zip(part, answers, strict=True):
            truth, owned = once.whole_label(index, view), once.owned(index, view)
            own = np.zeros_like(truth, bool) if owned is None else owned
            found.owners += bool((own & (truth != IGNORED)).any())
            for way, weight in zip(WAYS, (np.ones(truth.shape), own, 1 / patches.coverage(index, view)), strict=True):
                known = truth != IGNORED
                np.add.at(found.confusions[way], (truth[known], answer[known]), weight[known])
    return found
