"""What came of a study: tables of arms with paired intervals, as Markdown."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmarks.study.arms import Arm, Study
from mlseg_dist.config import CLASSES
from mlseg_dist.evaluation.figures import iou, mean_iou

_RESAMPLES = 4000


@dataclass(frozen=True)
class Outcome:
    """Results of one arm with all its seeds. confusions: (seeds, units, 3, 3); units are slides, tiles or patients.

    twins: accuracy on the look-alike pair, a seed each.
    """

    arm: Arm
    parameters: int
    gmac: float
    minutes: float
    units: tuple[str, ...]
    confusions: np.ndarray
    twins: list[float]


def outcome(arm: Arm, twins: tuple[str, str], cost: dict[str, Any], found: list[dict[str, Any]]) -> Outcome:
    """found: what benchmarks.study.arm wrote, one a seed."""
    slugs = tuple(sorted(found[0]["slides"]))
    confusions = np.array([[seed["slides"][slug] for slug in slugs] for seed in found], np.int64)
    minutes = float(np.mean([seed["minutes"] for seed in found]))
    accuracies = [twin_accuracy(seed["fine"], twins) for seed in found]
    return Outcome(arm, cost["parameters"], cost["gmac"], minutes, slugs, confusions, accuracies)


def twin_accuracy(fine: dict[str, list[int]], twins: tuple[str, str]) -> float:
    """Mean recall of the two look-alikes among the pixels that were called tumour or others; chance is 1/2."""
    tumour, others = CLASSES.index("tumour"), CLASSES.index("others")
    recalls = []
    for name, right in zip(twins, (tumour, others), strict=True):
        row = fine[name]
        recalls.append(row[right] / max(1, row[tumour] + row[others]))
    return float(np.mean(recalls))


def grouped(one: Outcome, group_of: Mapping[str, str]) -> Outcome:
    """The same pixels, counted by group (slug -> patient)."""
    names = tuple(sorted({group_of[unit] for unit in one.units}))
    member = np.array([[group_of[unit] == name for unit in one.units] for name in names], np.int64)
    return replace(one, units=names, confusions=np.einsum("gu,suij->sgij", member, one.confusions))


def differences(arm: Outcome, reference: Outcome, seed: int = 0) -> np.ndarray:
    """The arm minus the reference, means over seeds, pooled over units: (3, 4), rows: difference and the ends of its 95 %
    interval; columns: mIoU and the IoU of each class. Paired bootstrap: units are drawn, the same for both arms."""
    units = len(arm.units)
    draws = np.random.default_rng(seed).multinomial(units, np.full(units, 1 / units), size=_RESAMPLES)

    def of(one: Outcome, weights: np.ndarray) -> np.ndarray:
        pooled = [np.tensordot(weights, matrices, axes=1) for matrices in one.confusions]
        return np.mean([_figures(matrices) for matrices in pooled], axis=0)

    whole, gains = (of(arm, weights) - of(reference, weights) for weights in (np.ones((1, units), np.int64), draws))
    return np.concatenate([whole, np.nanpercentile(gains, [2.5, 97.5], axis=0)])


def _figures(confusions: np.ndarray) -> np.ndarray:
    """mIoU, then the IoU of each class: (..., 4)."""
    return np.concatenate([mean_iou(confusions)[..., None], iou(confusions)], axis=-1)


def unit_miou(one: Outcome) -> np.ndarray:
    """Each unit's own mIoU over the classes that its labels hold, mean over seeds: (units,)."""
    each = np.where(one.confusions.sum(axis=-1) > 0, iou(one.confusions), np.nan)
    return np.nanmean(each, axis=-1).mean(axis=0)


def plan(study: Study) -> str:
    """What was written down before the first run."""
    lines = [
        f"## {study.title}",
        "",
        f"**Question.** {study.question}",
        f"**Hypothesis, before the runs.** {study.hypothesis}",
    ]
    return "\n".join([*lines, *([f"**Budget, before the runs.** {study.budget}"] if study.budget else []), ""])


def markdown(study: Study, outcomes: Sequence[Outcome], facts: str) -> str:
    """Question and hypothesis first, then the table."""
    reference = _reference(study, outcomes)
    lines = [
        plan(study),
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
        against = "–" if one is reference else _gain(differences(one, reference)[:, 0])
        seeds = ", ".join(f"{value:.3f}" for value in each)
        lines.append(
            f"| {one.arm.name}: {one.arm.differs} | {one.parameters:,} | {one.gmac:.3f} | {one.minutes:.1f} |"
            f" **{np.mean(each):.3f}** ({seeds}) | {classes} | {np.mean(one.twins):.3f} | {against} |"
        )
    return "\n".join([*lines, ""])


def by_patient(study: Study, outcomes: Sequence[Outcome], patient_of: Mapping[str, str]) -> str:
    """Differences to the reference with intervals over tiles and over patients; mIoU of every two arms; each patient's own."""
    tiles, patients = list(outcomes), [grouped(one, patient_of) for one in outcomes]
    base = _reference(study, patients)
    lines = [
        f"| minus {study.reference} (95 %) | drawn | mIoU | {' | '.join(CLASSES)} | patients better |",
        f"|---|---|---|{'---|' * len(CLASSES)}---:|",
    ]
    for of_tiles, of_patients in zip(tiles, patients, strict=True):
        if of_patients is base:
            continue
        better = f"{(unit_miou(of_patients) > unit_miou(base)).sum()} of {len(base.units)}"
        for kind, one, last in (("tiles", of_tiles, ""), ("patients", of_patients, better)):
            gains = differences(one, _reference(study, tiles if one is of_tiles else patients))
            cells = " | ".join(_gain(column) for column in gains.T)
            lines.append(f"| {one.arm.name} | {len(one.units)} {kind} | {cells} | {last} |")
    lines += [
        "",
        f"| mIoU, row minus column, patients drawn | {' | '.join(one.arm.name for one in patients[:-1])} |",
        f"|---|{'---|' * (len(patients) - 1)}",
    ]
    for number, row in enumerate(patients[1:], start=1):
        against = [_gain(differences(row, column)[:, 0]) for column in patients[:number]]
        lines.append(f"| {row.arm.name} | {' | '.join([*against, *[''] * (len(patients) - 1 - number)])} |")
    lines += [
        "",
        f"| patient | tiles | labels, Mpx: {', '.join(CLASSES)} | {' | '.join(one.arm.name for one in patients)} |",
        f"|---|---:|---|{'---:|' * len(patients)}",
    ]
    own = [unit_miou(one) for one in patients]
    for number, name in enumerate(base.units):
        truth = ", ".join(f"{px / 1e6:.1f}" for px in base.confusions[0, number].sum(axis=-1))
        count = sum(patient_of[unit] == name for unit in tiles[0].units)
        scores = " | ".join(f"{values[number]:.3f}" for values in own)
        lines.append(f"| {name} | {count} | {truth} | {scores} |")
    return "\n".join([*lines, ""])


def _reference(study: Study, outcomes: Sequence[Outcome]) -> Outcome:
    return next(one for one in outcomes if one.arm.name == study.reference)


def _gain(column: np.ndarray) -> str:
    gain, low, high = column
    return f"{gain:+.3f} ({low:+.3f} … {high:+.3f})"
