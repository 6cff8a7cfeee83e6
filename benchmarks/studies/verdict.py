"""What came of a study: a table of arms with paired intervals, as Markdown."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.studies.arms import Arm, Study
from mlseg_dist.config import CLASSES
from mlseg_dist.evaluation.counts import iou, mean_iou

TWINS = ("tumour", "dcis")
"""Fine classes drawn alike in the high view; the first is tumour, the second belongs to others."""
_RESAMPLES = 4000


@dataclass(frozen=True)
class Outcome:
    """Of one arm, all its seeds. confusions: (seeds, slides, 3, 3). twins: accuracy on the look-alike pair, a seed each."""

    arm: Arm
    parameters: int
    gmac: float
    minutes: float
    confusions: np.ndarray
    twins: list[float]


def outcome(arm: Arm, cost: dict[str, Any], found: list[dict[str, Any]]) -> Outcome:
    """found: what benchmarks.studies.arm wrote, one a seed."""
    slugs = sorted(found[0]["slides"])
    confusions = np.array([[seed["slides"][slug] for slug in slugs] for seed in found], np.int64)
    minutes = float(np.mean([seed["minutes"] for seed in found]))
    return Outcome(
        arm, cost["parameters"], cost["gmac"], minutes, confusions, [twin_accuracy(s["fine"]) for s in found]
    )


def twin_accuracy(fine: dict[str, list[int]]) -> float:
    """Mean recall of the two look-alikes among the pixels that were called tumour or others; chance is 1/2."""
    tumour, others = CLASSES.index("tumour"), CLASSES.index("others")
    recalls = []
    for name, right in zip(TWINS, (tumour, others), strict=True):
        row = fine[name]
        recalls.append(row[right] / max(1, row[tumour] + row[others]))
    return float(np.mean(recalls))


def difference(arm: Outcome, reference: Outcome, seed: int = 0) -> tuple[float, float, float]:
    """mIoU of the arm minus the reference's, mean over seeds, and its 95 % interval; slides are drawn, the same for both."""
    slides = arm.confusions.shape[1]
    draws = np.random.default_rng(seed).multinomial(slides, np.full(slides, 1 / slides), size=_RESAMPLES)

    def of(confusions: np.ndarray) -> np.ndarray:
        return np.mean([mean_iou(np.tensordot(draws, one, axes=1)) for one in confusions], axis=0)

    gains = of(arm.confusions) - of(reference.confusions)
    whole = np.mean([mean_iou(c.sum(0)) for c in arm.confusions]) - np.mean(
        [mean_iou(c.sum(0)) for c in reference.confusions]
    )
    low, high = np.nanpercentile(gains, [2.5, 97.5])
    return float(whole), float(low), float(high)


def markdown(study: Study, outcomes: list[Outcome], facts: str) -> str:
    """Question and hypothesis first, then the table."""
    reference = next(o for o in outcomes if o.arm.name == study.reference)
    lines = [
        f"## {study.title}",
        "",
        f"**Question.** {study.question}",
        f"**Hypothesis, before the runs.** {study.hypothesis}",
        "",
        facts,
        "",
        f"| arm | parameters | GMAC | min | mIoU (seeds) | {' | '.join(CLASSES)} | look-alikes |"
        f" mIoU − {reference.arm.name} (95 %) |",
        "|---|---:|---:|---:|---|---:|---:|---:|---:|---|",
    ]
    for one in outcomes:
        pooled = one.confusions.sum(axis=1)
        each = mean_iou(pooled)
        classes = " | ".join(f"{value:.3f}" for value in np.nanmean(iou(pooled), axis=0))
        if one is reference:
            against = "–"
        else:
            gain, low, high = difference(one, reference)
            against = f"{gain:+.3f} ({low:+.3f} … {high:+.3f})"
        seeds = ", ".join(f"{value:.3f}" for value in each)
        lines.append(
            f"| {one.arm.name}: {one.arm.differs} | {one.parameters:,} | {one.gmac:.3f} | {one.minutes:.1f} |"
            f" **{np.mean(each):.3f}** ({seeds}) | {classes} | {np.mean(one.twins):.3f} | {against} |"
        )
    return "\n".join([*lines, ""])
