"""Figures by stain, scanner and source over the held-out splits, and which of these factors cannot be told apart."""

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mlseg_dist.config import FACTORS, HELD_OUT
from mlseg_dist.evaluation.cohort import Facts, by_name, sums_by
from mlseg_dist.evaluation.figures import mean_iou, number
from mlseg_dist.evaluation.intervals import Resamples, iou_intervals


def domain_slides(facts: Facts, splits: Sequence[str]) -> list[str]:
    """Slides that domains are made of: those of the held-out splits; of the others where no such split is evaluated."""
    chosen = [split for split in splits if split in HELD_OUT] or list(splits)
    return sorted(slug for slug, fact in facts.items() if fact["split"] in chosen)


def domains(confusions: Mapping[str, np.ndarray], facts: Facts, seed: int) -> list[dict[str, Any]]:
    """One row a value of each factor, those that training saw first. confusions: slug -> (3, 3), of slides with any pixel.

    unseen: no slide of the train split has this value.
    """
    rows = []
    for factor in FACTORS:
        values = {facts[slug][factor] for slug in confusions}
        unseen = {facts[slug][factor] for slug in confusions if factor in facts[slug]["unseen"]}
        for value in sorted(values, key=lambda name: (name in unseen, name)):
            slugs = [slug for slug in sorted(confusions) if facts[slug][factor] == value]
            own = np.array([confusions[slug] for slug in slugs])
            patients, of_patient = by_name(facts[slug]["patient"] for slug in slugs)
            mious = mean_iou(own)
            known = mious[~np.isnan(mious)]
            resamples = Resamples(len(patients), seed, "domain")  # the same slides, the same interval
            rows.append(
                {
                    "factor": factor,
                    "value": value,
                    "unseen": value in unseen,
                    "slides": len(slugs),
                    "patients": len(patients),
                    **iou_intervals(sums_by(of_patient, own, len(patients)), resamples),
                    "spread": [number(known.min()), number(known.max())] if len(known) else [None, None],
                }
            )
    return rows


def confounded(facts: Facts, slugs: Sequence[str]) -> list[list[str]]:
    """Factors whose values fix each other on these slides, so that no figure tells which of them matters.

    Two factors are confounded when one's value determines the other's; a factor with one value only is left out. Where all three
    are confounded, they are named once, together.
    """
    varying = [factor for factor in FACTORS if len({facts[slug][factor] for slug in slugs}) > 1]
    pairs = [list(pair) for pair in combinations(varying, 2) if _determine(facts, slugs, *pair)]
    return [varying] if len(varying) == len(FACTORS) == len(pairs) else pairs


def _determine(facts: Facts, slugs: Sequence[str], left: str, right: str) -> bool:
    joint = {(facts[slug][left], facts[slug][right]) for slug in slugs}
    return any(len({pair[side] for pair in joint}) == len(joint) for side in (0, 1))
