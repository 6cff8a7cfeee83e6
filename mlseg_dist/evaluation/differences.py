"""Differences between two networks on the same slides, paired: intervals draw the same patients for both."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from mlseg_dist.config import FACTORS
from mlseg_dist.evaluation.cohort import Counts, Facts, by_name, read_step, sums_by
from mlseg_dist.evaluation.figures import mean_iou
from mlseg_dist.evaluation.intervals import Resamples, iou_differences, share_difference
from mlseg_dist.evaluation.step_summary import StepSummary

MOVED = 0.01
"""A slide is called better or worse when its own mean IoU moved by more than this."""

Confusions = Mapping[str, np.ndarray]
"""Slug -> (3, 3), of the scored slides of a split."""

Shares = Mapping[str, np.ndarray]
"""Slug -> (hits, all), of the scored slides of a split."""


@dataclass(frozen=True)
class Against:
    """Another run's networks on our slides. steps: our step -> the one of theirs that it is compared with.

    counts, teachers: of their steps, as in summary.build.
    """

    name: str
    steps: Mapping[str, str]
    counts: Counts
    teachers: Mapping[str, Mapping[str, Any]]


def difference(before: Confusions, after: Confusions, facts: Facts, seed: int, split: str) -> dict[str, Any]:
    """miou and iou of after minus before, pooled over the slides that both scored, and the slides that moved, farthest first."""
    slugs = sorted(before.keys() & after.keys())
    patients, of_patient = by_name(facts[slug]["patient"] for slug in slugs)
    earlier, later = (np.array([one[slug] for slug in slugs], np.int64).reshape(-1, 3, 3) for one in (before, after))
    sums = sums_by(of_patient, earlier, len(patients)), sums_by(of_patient, later, len(patients))
    gains = mean_iou(later) - mean_iou(earlier)
    order = np.argsort(gains, kind="stable")
    return {
        **iou_differences(*sums, Resamples(len(patients), seed, split)),
        "better": [slugs[place] for place in order[::-1] if gains[place] > MOVED],
        "worse": [slugs[place] for place in order if gains[place] < -MOVED],
    }


def share_gain(before: Shares, after: Shares, facts: Facts, seed: int, split: str) -> dict[str, Any]:
    """A share of after minus that of before, pooled over the slides that both scored, with its paired interval."""
    slugs = sorted(before.keys() & after.keys())
    patients, of_patient = by_name(facts[slug]["patient"] for slug in slugs)
    earlier, later = (
        sums_by(of_patient, np.array([one[slug] for slug in slugs], np.int64).reshape(-1, 2), len(patients))
        for one in (before, after)
    )
    return share_difference(earlier, later, Resamples(len(patients), seed, split))


def ladder(steps: Sequence[str]) -> list[tuple[str, str]]:
    """Which steps are compared: each with the next, then the first with the last where that is another pair."""
    pairs = list(pairwise(steps))
    return [*pairs, (steps[0], steps[-1])] if len(steps) > 2 else pairs


def between_steps(
    split: str, pairs: Sequence[tuple[str, str]], made: Mapping[str, StepSummary], facts: Facts, seed: int
) -> list[dict[str, Any]]:
    """One row for each pair of steps."""
    return [
        {
            "from": before,
            "to": after,
            **difference(made[before].confusions[split], made[after].confusions[split], facts, seed, split),
            "bad_regions": share_gain(
                made[before].bad_regions[split], made[after].bad_regions[split], facts, seed, split
            ),
        }
        for before, after in pairs
    ]


def by_domain(
    before: Confusions, after: Confusions, facts: Facts, slugs: Sequence[str], seed: int
) -> list[dict[str, Any]]:
    """miou and iou of after minus before for each value of each factor. slugs: those that domains are made of."""
    shared = [slug for slug in sorted(slugs) if slug in before and slug in after]
    rows = []
    for factor in FACTORS:
        for value in sorted({facts[slug][factor] for slug in shared}):
            own = [slug for slug in shared if facts[slug][factor] == value]
            earlier, later = ({slug: one[slug] for slug in own} for one in (before, after))
            found = difference(earlier, later, facts, seed, "domain")
            rows.append({"factor": factor, "value": value, "miou": found["miou"], "iou": found["iou"]})
    return rows


def against_another(
    against: Against,
    made: Mapping[str, StepSummary],
    facts: Facts,
    splits: Sequence[str],
    class_of: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """Its name, which step is compared with which of its own, and the differences on each split."""
    theirs = {}
    for step in set(against.steps.values()):
        cohorts, _ = read_step(step, against.teachers[step], against.counts, facts, splits, class_of)
        theirs[step] = {split: cohort.by_slug for split, cohort in cohorts.items()}
    pairs = [(ours, against.steps[ours]) for ours in made if ours in against.steps]
    return {
        "name": against.name,
        "steps": dict(pairs),
        "differences": {
            split: [
                {
                    "from": their,
                    "to": our,
                    **difference(theirs[their][split], made[our].confusions[split], facts, seed, split),
                }
                for our, their in pairs
            ]
            for split in splits
        },
    }
