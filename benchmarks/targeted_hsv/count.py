"""How many pixels of each kind are hit."""

from dataclasses import dataclass, fields

import numpy as np

from benchmarks.targeted_hsv.truth import Truth
from mlseg_dist.augment.colour_ops import TargetedHsvOp
from mlseg_dist.augment.show.hits import HIT, weights


@dataclass(frozen=True)
class Counts:
    """Pixels by stain. hit: all that are; on_nuclei: of these; found: of nuclei of that colour, which are `nuclei`.

    Pixels by kind (`all`, `dab` outside nuclei, `rest` of the tissue, `glass`). elsewhere: those hit; there: all of them;
    shifted: the sum of their weights.
    """

    hit: dict[str, float]
    on_nuclei: dict[str, float]
    found: dict[str, float]
    nuclei: dict[str, float]
    elsewhere: dict[str, float]
    there: dict[str, float]
    shifted: dict[str, float]

    def __add__(self, other: "Counts") -> "Counts":
        both = [(getattr(self, field.name), getattr(other, field.name)) for field in fields(self)]
        return Counts(*({key: one[key] + two[key] for key in one} for one, two in both))


def count(op: TargetedHsvOp, image: np.ndarray, known: Truth) -> Counts:
    weight = weights(op, image)
    most = np.maximum.reduce(list(weight.values()))
    hits = {name: one >= HIT for name, one in weight.items()}
    aims = {"blue": known.nuclei & ~known.brown, "brown": known.nuclei & known.brown}
    kinds = {
        "all": np.ones_like(known.nuclei),
        "dab": known.brown & ~known.nuclei,
        "rest": known.tissue & ~known.nuclei & ~known.brown,
        "glass": ~known.tissue & ~known.nuclei & ~known.brown,
    }
    return Counts(
        {name: int(hit.sum()) for name, hit in hits.items()},
        {name: int((hit & known.nuclei).sum()) for name, hit in hits.items()},
        {name: int((hits[name] & aim).sum()) for name, aim in aims.items()},
        {name: int(aim.sum()) for name, aim in aims.items()},
        {kind: int(((most >= HIT) & mask).sum()) for kind, mask in kinds.items()},
        {kind: int(mask.sum()) for kind, mask in kinds.items()},
        {kind: float(most[mask].sum(dtype=float)) for kind, mask in kinds.items()},
    )
