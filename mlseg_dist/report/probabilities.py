"""Sections about probabilities: calibration before and after the temperature, and each class against the rest."""

from typing import Any

from mlseg_core.html import Html, Row, Section, grid, head_row, left, table
from mlseg_dist.evaluation.operating_point import DEFAULT_THRESHOLD
from mlseg_dist.report import figures
from mlseg_dist.report.elements import by_split, class_name, drawing, interval
from mlseg_dist.report.figure_ids import figure_id
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.words import LEARNT, SPLIT_NAMES, share

CURVES = (
    (figures.precision_recall, "precision and recall", "precision-recall"),
    (figures.roc, "ROC", "roc"),
    (figures.over_threshold, "IoU, sensitivity and specificity over thresholds", "thresholds"),
)


def calibration(sources: Sources) -> Section | None:
    splits = [
        split for split in sources.splits if sources.steps and sources.block("calibration", split, sources.steps[-1])
    ]
    if not splits:
        return None
    last = sources.steps[-1]
    drawn = []
    for split in splits:
        found = sources.block("calibration", split, last)
        is_scaled = found.get("temperature") not in (None, 1)
        scaled = found.get("reliability_scaled") if is_scaled else None
        curve = figures.reliability(split, found.get("reliability") or [], scaled or [])
        drawn.append(drawing(curve, f"Reliability of {last} on {SPLIT_NAMES[split]}, before and after temperature"))

    def block(split: str) -> Html | None:
        rows = []
        for step in sources.steps:
            found = sources.block("calibration", split, step)
            cells = [share(found.get(key)) for key in ("ece", "ece_scaled", "nll", "nll_scaled")]
            cells.append(share(found.get("temperature"), 2))
            rows.append(Row([left(step), *cells], "last" if step == last else ""))
        head = head_row(["step"], ["ECE", "at T", "NLL", "at T", "T"])
        return table([head], rows, "", f"Calibration on {SPLIT_NAMES[split]}") if split in splits else None

    lead = (
        f"{last}: how often the answer is right where the network is so sure; on the diagonal as often as it says. ECE is the "
        "mean distance from it, NLL the mean of −log p. The temperature T comes from the validation slides and never changes an "
        "answer."
    )
    return Section("Calibration", lead, [grid(drawn, "three"), by_split(sources, block)])


def one_against_rest(sources: Sources) -> Section | None:
    """Curves of the last step, with the areas under them."""
    if not sources.steps:
        return None
    last = sources.steps[-1]
    found = {split: sources.block("curves", split, last) for split in sources.splits}
    if not any(found.values()):
        return None
    threshold = sources.block("teachers", last).get("threshold") or DEFAULT_THRESHOLD
    drawn = []
    for name in LEARNT:
        curves = {split: one[name] for split, one in found.items() if one.get(name, {}).get("recall")}
        if curves:
            drawn += [
                drawing(draw(name, curves, threshold), f"{name}: {words}", id=figure_id(f"{key}-{name}"))
                for draw, words, key in CURVES
            ]
    lead = f"Probabilities of {last} for one class, thresholds in steps of .01; the dot is at its threshold, {threshold:g}."
    return Section("One class against the rest", lead, [_areas(sources, found), grid(drawn, "three")])


def _areas(sources: Sources, found: dict[str, Any]) -> Html:
    last = sources.steps[-1]
    rows = []
    for name in LEARNT:
        for split in found:
            cells = [left(class_name(name)), left(SPLIT_NAMES[split])]
            for key in ("auc", "average_precision", "precision", "recall", "specificity", "dice"):
                cells.append(interval(sources.pooled(split, last, key, name)))
            rows.append(Row(cells, "group" if split == next(iter(found)) else ""))
    head = head_row(["class", "on"], ["AUC", "average precision", "precision", "recall", "specificity", "Dice"])
    return table([head], rows, "wide", "Areas under curves, precision and recall")
