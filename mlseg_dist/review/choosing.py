"""Which patches people look at: the highest scores by each reason in turn, spread over slides, patients and stains.

In: scored patches. Out: regions in the order in which they are worth a person's time. Nothing is random: the same scores give the
same regions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mlseg_dist.review.scores import REASONS, Patch, Reason
from shards.manifest import SlideEntry

OVERLAP = 0.25
"""Most of a region that may lie in another one."""
LEAST = 0.05
"""Least part of a region that speaks for it."""
_AGAIN = {"slide": 0.6, "patient": 0.8, "stain": 0.95}
"""A patch counts so much for each region that its slide, patient or stain already has."""


@dataclass(frozen=True)
class Region:
    """One region to annotate, a square. rank: from 1. side_um: its side."""

    rank: int
    reason: Reason
    patch: Patch
    side_um: float

    @property
    def area_mm2(self) -> float:
        return (self.side_um / 1000) ** 2

    @property
    def score(self) -> float:
        return self.patch.scores[self.reason]


def choose(
    patches: Sequence[Patch],
    slides: Mapping[str, SlideEntry],
    patch_um: float,
    budget_mm2: float,
    reasons: Sequence[Reason] = REASONS,
    spread: bool = True,
) -> list[Region]:
    """Return regions whose areas together are at most `budget_mm2`, best first.

    slides: by slug. patch_um: side of a region. Each reason has its turn; one that has nothing left gives its turns to the others.
    spread: whether a slide, patient or stain that has regions stands back.
    """
    area = (patch_um / 1000) ** 2
    wanted = int(budget_mm2 / area + 1e-9)
    value = {reason: np.array([patch.scores[reason] for patch in patches]) for reason in reasons}
    groups = [_groups(patch, slides) for patch in patches]
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in _AGAIN}
    regions: list[Region] = []
    left = list(reasons)
    while left and len(regions) < wanted:
        reason = left.pop(0)
        best = _best(value[reason], groups, counts if spread else {})
        if best is None:
            continue
        left.append(reason)
        patch = patches[best]
        regions.append(Region(len(regions) + 1, reason, patch, patch_um))
        for kind, name in groups[best].items():
            counts[kind][name] += 1
        for other in _too_near(patches, best):
            for scores in value.values():
                scores[other] = 0.0
    return regions


def _groups(patch: Patch, slides: Mapping[str, SlideEntry]) -> dict[str, str]:
    entry = slides[patch.ref.slide]
    return {"slide": entry.slug, "patient": entry.patient, "stain": entry.stain}


def _best(value: np.ndarray, groups: Sequence[Mapping[str, str]], counts: Mapping[str, Counter[str]]) -> int | None:
    if not len(value) or value.max() < LEAST:
        return None
    held_back = np.ones(len(value))
    for kind, of_kind in counts.items():
        if of_kind:
            held_back *= _AGAIN[kind] ** np.array([of_kind[one[kind]] for one in groups])
    return int(np.where(value < LEAST, 0.0, value * held_back).argmax())


def _too_near(patches: Sequence[Patch], chosen: int) -> list[int]:
    """Return the patches of the same slide that share more than OVERLAP of their area with the chosen one, itself included."""
    one = patches[chosen]
    near = []
    for place, other in enumerate(patches):
        if other.ref.slide == one.ref.slide:
            shared = 1.0
            for axis in (0, 1):
                shared *= max(0.0, 1 - abs(other.center[axis] - one.center[axis]) / one.size[axis])
            if shared > OVERLAP:
                near.append(place)
    return near
