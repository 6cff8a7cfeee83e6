"""How many pixels of each kind are hit."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.targeted_hsv.truth import Truth
from mlseg_dist.augment.colour_ops import TargetedHsvOp
from mlseg_dist.augment.show.hits import HIT, weights


@dataclass(frozen=True)
class Counts:
    """Pixels. hit: by stain; on_nuclei: of those; found: of nuclei of that colour, all of `nuclei`. elsewhere: kind -> hit, all."""

    pixels: int
    hit: dict[str, int]
    on_nuclei: dict[str, int]
    found: dict[str, int]
    nuclei: dict[str, int]
    elsewhere: dict[str, tuple[int, int]]

    def __add__(self, other: "Counts") -> "Counts":
        def added(one: Mapping[str, int], two: Mapping[str, int]) -> dict[str, int]:
            return {key: one[key] + two[key] for key in one}

        return Counts(
            self.pixels + other.pixels,
            *(added(getattr(self, name), getattr(other, name)) for name in ("hit", "on_nuclei", "found", "nuclei")),
            {
                kind: (a + other.elsewhere[kind][0], b + other.elsewhere[kind][1])
                for kind, (a, b) in self.elsewhere.items()
            },
        )


def count(op: TargetedHsvOp, image: np.ndarray, known: Truth) -> Counts:
    hits = {name: weight >= HIT for name, weight in weights(op, image).items()}
    either = np.logical_or.reduce(list(hits.values()))
    aims = {"blue": known.nuclei & ~known.brown, "brown": known.nuclei & known.brown}
    kinds = {
        "dab": known.brown & ~known.nuclei,
        "rest": known.tissue & ~known.nuclei & ~known.brown,
        "glass": ~known.tissue & ~known.nuclei & ~known.brown,
    }
    return Counts(
        either.size,
        {name: int(hit.sum()) for name, hit in hits.items()},
        {name: int((hit & known.nuclei).sum()) for name, hit in hits.items()},
        {name: int((hits[name] & aim).sum()) for name, aim in aims.items()},
        {name: int(aim.sum()) for name, aim in aims.items()},
        {kind: (int((either & mask).sum()), int(mask.sum())) for kind, mask in kinds.items()},
    )
