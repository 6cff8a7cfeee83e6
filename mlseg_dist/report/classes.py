"""Sections about classes: confusion, fine classes and what their pixels were called, bad regions, boundaries."""

from collections.abc import Sequence
from typing import Any

from mlseg_core.html import Cell, Html, Row, Section, details, head_row, join, left, note, table
from mlseg_dist.config import CLASSES, IGNORED
from mlseg_dist.report.elements import by_split, class_heads, class_name, interval
from mlseg_dist.report.figure_ids import target
from mlseg_dist.report.look import PAPER
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.verdict import Change
from mlseg_dist.report.words import ORDER, SPLIT_NAMES, limits, pixels, with_limits

HEAT, WRONG = (24, 62, 115), (150, 25, 16)
DARK = "#0b0f16"


def confusion(sources: Sources) -> Section | None:
    """Confusion matrices of the last step, one a split; those of the first step lie behind a fold."""
    if not sources.steps:
        return None
    body = [_matrices(sources, sources.steps[-1])]
    if len(sources.steps) > 1:
        body.append(details(f"The same for {sources.steps[0]}", _matrices(sources, sources.steps[0])))
    lead = f"{sources.steps[-1]}: rows are the truth, columns the prediction, shares are of the row."
    return Section("Confusion", lead, body)


def _matrices(sources: Sources, step: str) -> Html:
    def block(split: str) -> Html | None:
        matrix = sources.block("figures", split, step, "pooled", "confusion")
        accuracy = with_limits(sources.pooled(split, step, "accuracy"), 3)
        return join([_matrix(matrix), note(f"accuracy {accuracy}")]) if matrix else None

    return by_split(sources, block)


def _matrix(counts: list[list[int]]) -> Html:
    rows = []
    for name, line in zip(CLASSES, counts, strict=True):
        total = sum(line)
        cells = [_heat(count / total if total else None, pixels(count)) for count in line]
        rows.append([Cell(class_name(name), is_head=True), *cells])
    return table([["", *CLASSES]], rows, "heat", "Confusion matrix")


def _heat(part_of_row: float | None, small: str = "", colour: tuple[int, int, int] = HEAT) -> Cell:
    """A cell that is darker the larger its share."""
    cover = 0.04 + 0.9 * (part_of_row or 0.0)
    shade = [round(cover * channel + (1 - cover) * 255) for channel in colour]
    style = f"background:rgb({','.join(map(str, shade))});color:{PAPER if _luminance(shade) < 0.19 else DARK}"
    shown = "–" if part_of_row is None else f"{100 * part_of_row:.1f} %"
    return Cell(shown, style=style, small=small)


def _luminance(colour: Sequence[int]) -> float:
    """Relative luminance of an RGB colour, as WCAG defines it: text on it is black or white, whichever is easier to read."""
    linear = [(one / 255 / 12.92 if one <= 10 else ((one / 255 + 0.055) / 1.055) ** 2.4) for one in colour]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def fine_classes(sources: Sources) -> Section | None:
    """What the pixels of each annotated class were called by the last step; the first step's behind a fold."""
    if not any(sources.block("fine", split, step) for split in sources.splits for step in sources.steps):
        return None
    body = [_fine_tables(sources, sources.steps[-1])]
    if len(sources.steps) > 1:
        body.append(details(f"The same for {sources.steps[0]}", _fine_tables(sources, sources.steps[0])))
    lead = (
        f"{sources.steps[-1]}: what the pixels of each annotated class were called. Blue: the training class that it belongs to, "
        "whose share is the recall. Red: another class."
    )
    return Section("Fine classes", lead, body)


def _fine_tables(sources: Sources, step: str) -> Html:
    def block(split: str) -> Html | None:
        found = sources.block("fine", split, step)
        return _fine_table(sources, found) if found else None

    return by_split(sources, block)


def _fine_table(sources: Sources, found: dict[str, dict[str, Any]]) -> Html:
    """The classes of each training class together, the largest first."""
    of = sources.config.training_classes
    names = sorted(found, key=lambda name: (of.get(name, IGNORED), -found[name]["pixels"], name))
    rows = []
    for name in names:
        one, right = found[name], of.get(name, IGNORED)
        total = sum(one["called"].values())
        cells = [Cell(name, "left", small=pixels(one["pixels"]))]
        for place, called in enumerate(CLASSES):
            count = one["called"].get(called, 0)
            bounds = limits(one["recall"]) if place == right else ""
            cells.append(_heat(count / total if total else None, bounds, HEAT if place == right else WRONG))
        rows.append(cells)
    head = [left("annotated"), *class_heads(CLASSES)]
    return table([head], rows, "heat", "Fine classes")


def bad_regions(sources: Sources) -> Section | None:
    """None where nobody annotated any."""
    if not any(_bad(sources, split, step).get("pixels") for split in sources.splits for step in sources.steps):
        return None
    kinds = sorted(
        {kind for s in sources.splits for step in sources.steps for kind in _bad(sources, s, step).get("each", {})}
    )

    def block(split: str) -> Html | None:
        if not any(_bad(sources, split, step).get("pixels") for step in sources.steps):
            return None
        first = _bad(sources, split, sources.steps[0]).get("recall") or {}
        rows = []
        for step in sources.steps:
            found = _bad(sources, split, step)
            paired = (sources.difference(split, sources.steps[0], step) or {}).get("bad_regions")
            is_worse = Change("", "", first, found.get("recall") or {}, paired, always_told=True).is_fall
            cells = [left(step), interval(found.get("recall"), "miou fell" if is_worse else "miou")]
            cells += [interval(found.get("each", {}).get(kind, {}).get("recall")) for kind in kinds]
            rows.append(Row(cells, "last" if step == sources.steps[-1] else ""))
        return table([head_row(["step"], ["all", *kinds])], rows, "", f"Recall of bad regions on {SPLIT_NAMES[split]}")

    lead = "Recall: the share of annotated folds, bubbles, blur and artefacts that is called others. Red: less than the first step."
    return Section("Bad regions", lead, [target("bad-regions"), by_split(sources, block)])


def _bad(sources: Sources, split: str, step: str) -> dict[str, Any]:
    return sources.block("bad_regions", split, step)


def boundaries(sources: Sources) -> Section | None:
    """Surface Dice per step, split and class."""
    if not any(sources.pooled(s, step, "surface_dice") for s in sources.splits for step in sources.steps):
        return None

    def block(split: str) -> Html:
        rows = []
        for step in sources.steps:
            cells = [interval(sources.pooled(split, step, "surface_dice", name)) for name in ORDER]
            rows.append(Row([left(step), *cells], "last" if step == sources.steps[-1] else ""))
        return table([[left("step"), *class_heads(ORDER)]], rows, "", f"Surface Dice on {SPLIT_NAMES[split]}")

    tolerance = sources.block("boundary_um") or 0
    lead = (
        f"Surface Dice: the share of true and predicted boundary that lies within {tolerance:g} µm of the other. The border "
        "of an annotation is no boundary of tissue and does not count."
    )
    return Section("Boundaries", lead, [by_split(sources, block)])
