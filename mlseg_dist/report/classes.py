"""Sections about classes: confusion, fine classes and what their pixels were called, bad regions, boundaries."""

from typing import Any

from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.report.html import (
    Html,
    Part,
    cell,
    class_name,
    details,
    grid,
    head_cell,
    head_row,
    interval,
    left,
    number,
    part,
    row,
    table,
    text,
)
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.style import INK, PAPER
from mlseg_dist.report.verdict import Change
from mlseg_dist.report.words import SPLIT_NAMES, pixels

HEAT = "31,78,140"
WRONG = "180,35,24"


def confusion(sources: Sources) -> Part | None:
    """Of the last step, one matrix a split; the first step's behind a fold."""
    if sources.evaluation is None:
        return None
    body = [_matrices(sources, sources.steps[-1])]
    if len(sources.steps) > 1:
        body.append(details(f"The same for {sources.steps[0]}", _matrices(sources, sources.steps[0])))
    lead = f"{sources.steps[-1]}: rows are the truth, columns the prediction, shares are of the row."
    return part("Confusion", lead, *body)


def _matrices(sources: Sources, step: str) -> Html:
    shown = []
    for split in sources.splits:
        matrix = sources.block("figures", split, step, "pooled", "confusion")
        if matrix:
            accuracy = number(sources.pooled(split, step, "accuracy").get("value"))
            shown.append(Html(f"<div><h3>{text(SPLIT_NAMES[split])} · accuracy {accuracy}</h3>{_matrix(matrix)}</div>"))
    return grid(shown, "three")


def _matrix(counts: list[list[int]]) -> Html:
    head = [head_cell(Html("")), *(head_cell(text(name)) for name in CLASSES)]
    rows = []
    for name, line in zip(CLASSES, counts, strict=True):
        total = sum(line)
        cells = [_heat(count / total if total else None, f"{pixels(count)}px") for count in line]
        rows.append(row([head_cell(class_name(name)), *cells]))
    return table([head], rows, "heat", "Confusion matrix")


def _heat(part_of_row: float | None, small: str = "", colour: str = HEAT) -> Html:
    """A cell that is darker the larger its share."""
    strength = part_of_row or 0.0
    ink = PAPER if strength > 0.5 else INK
    style = f"background:rgba({colour},{0.04 + 0.9 * strength:.2f});color:{ink}"
    shown = "–" if part_of_row is None else f"{100 * part_of_row:.1f} %"
    return cell(Html(f"{shown}<small>{text(small)}</small>" if small else shown), style=style)


def fine_classes(sources: Sources) -> Part | None:
    """What the pixels of each annotated class were called by the last step; the first step's behind a fold."""
    splits = [split for split in sources.splits if sources.steps and sources.block("fine", split, sources.steps[-1])]
    if not splits:
        return None
    body = [_fine_tables(sources, splits, sources.steps[-1])]
    if len(sources.steps) > 1:
        body.append(details(f"The same for {sources.steps[0]}", _fine_tables(sources, splits, sources.steps[0])))
    lead = (
        f"{sources.steps[-1]}: what the pixels of each annotated class were called. Blue: the training class that it belongs to, "
        "whose share is the recall. Red: another class."
    )
    return part("Fine classes", lead, *body)


def _fine_tables(sources: Sources, splits: list[str], step: str) -> Html:
    shown = []
    for split in splits:
        found = sources.block("fine", split, step)
        if found:
            shown.append(Html(f"<div><h3>{text(SPLIT_NAMES[split])}</h3>{_fine_table(sources, found)}</div>"))
    return grid(shown, "two")


def _fine_table(sources: Sources, found: dict[str, dict[str, Any]]) -> Html:
    """The classes of each training class together, the largest first."""
    of = sources.config.training_classes
    names = sorted(found, key=lambda name: (of.get(name, IGNORED), -found[name]["pixels"], name))
    rows = []
    for name in names:
        one, right = found[name], of.get(name, IGNORED)
        total = sum(one["called"].values())
        cells = [left(name), cell(text(pixels(one["pixels"])))]
        for place, called in enumerate(CLASSES):
            count = one["called"].get(called, 0)
            cells.append(_heat(count / total if total else None, "", HEAT if place == right else WRONG))
        cells.append(cell(interval(one["recall"])))
        rows.append(row(cells))
    head = head_row(["annotated"], ["px"])
    head += [head_cell(class_name(name)) for name in CLASSES]
    return table([[*head, head_cell(text("recall"))]], rows, "heat", "Fine classes")


def bad_regions(sources: Sources) -> Part | None:
    """None where nobody annotated any."""
    splits = [s for s in sources.splits if any(_bad(sources, s, step).get("pixels") for step in sources.steps)]
    if not splits:
        return None
    last = sources.steps[-1]
    kinds = sorted({kind for s in splits for step in sources.steps for kind in _bad(sources, s, step).get("each", {})})
    rows = []
    for split in splits:
        first = _bad(sources, split, sources.steps[0]).get("recall") or {}
        for step in sources.steps:
            found = _bad(sources, split, step)
            worse = Change("", "", first, found.get("recall") or {}, always_told=True).is_fall
            cells = [left(step if step != sources.steps[0] else f"{step}, {SPLIT_NAMES[split]}")]
            cells.append(cell(interval(found.get("recall")), "miou fell" if worse else "miou"))
            cells += [cell(interval(found.get("each", {}).get(kind, {}).get("recall"))) for kind in kinds]
            marks = ["group" if step == sources.steps[0] else "", "last" if step == last else ""]
            rows.append(row(cells, " ".join(filter(None, marks))))
    lead = "Recall: the share of the annotated folds, bubbles, blur and artefacts that is called others. Red: less than the first step."
    return part(
        "Bad regions", lead, table([head_row(["step"], ["all", *kinds])], rows, "wide", "Recall of bad regions")
    )


def _bad(sources: Sources, split: str, step: str) -> dict[str, Any]:
    return sources.block("bad_regions", split, step)


def boundaries(sources: Sources) -> Part | None:
    """Surface Dice per step, split and class."""
    found = [s for s in sources.splits if any(sources.pooled(s, step, "surface_dice") for step in sources.steps)]
    if not found:
        return None
    groups = [
        head_cell(Html(""), "left"),
        *(head_cell(text(SPLIT_NAMES[s]), "group first", len(CLASSES)) for s in found),
    ]
    columns = [head_cell(Html("step"), "left")]
    columns += [head_cell(class_name(name), "first" if name == CLASSES[0] else "") for _ in found for name in CLASSES]
    rows = []
    for step in sources.steps:
        cells = [left(step)]
        for split in found:
            for name in CLASSES:
                shown = interval(sources.pooled(split, step, "surface_dice", name))
                cells.append(cell(shown, "first" if name == CLASSES[0] else ""))
        rows.append(row(cells, "last" if step == sources.steps[-1] else ""))
    tolerance = sources.block("boundary_um")
    lead = (
        f"Surface Dice: the share of the true and the predicted boundary that lies within {tolerance:g} µm of the other. The border "
        "of an annotation is no boundary of tissue and does not count."
    )
    return part("Boundaries", lead, table([groups, columns], rows, "wide", "Surface Dice"))
