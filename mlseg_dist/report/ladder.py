"""The first section: how far each step came on every split, differences between steps, and the config's checks."""

from collections.abc import Mapping
from typing import Any

from mlseg_dist.config import CLASSES
from mlseg_dist.report import figures
from mlseg_dist.report.html import (
    Html,
    Part,
    cell,
    class_name,
    details,
    figure,
    head_cell,
    head_row,
    heading,
    interval,
    left,
    note,
    number,
    part,
    row,
    table,
    text,
)
from mlseg_dist.report.metrics import in_words
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.verdict import NOTABLE, Change
from mlseg_dist.report.words import SPLIT_NAMES, Interval, limits, signed, value_of

_COLUMNS = ("mIoU", *CLASSES)


def results(sources: Sources) -> Part | None:
    if sources.evaluation is None:
        return None
    body = [figure(_chart(sources), "Mean IoU of every step on every split, with intervals", "narrow")]
    body += [heading("IoU per step and class"), _iou_table(sources)]
    body += _means(sources)
    body += _differences(sources)
    return part("Results", _lead(sources), *body)


def _lead(sources: Sources) -> str:
    said = (
        "Every annotated pixel counts once, on slides stitched as prediction stitches them. Brackets are 95 % intervals of a "
        "bootstrap over patients; below five patients there is none."
    )
    if "val" in sources.splits and len(sources.splits) > 1:
        said += " The validation slides also chose the teachers: quote the other splits."
    if sources.block("cross_fit"):
        said += " For each validation patient the threshold was chosen on the others."
    return said


def _chart(sources: Sources) -> bytes:
    found = {s: {step: sources.pooled(s, step, "miou") for step in sources.steps} for s in sources.splits}
    majority = {s: sources.block("splits", s, "majority").get("miou") for s in sources.splits}
    return figures.ladder(sources.steps, found, majority, {s: _fell(sources, s) for s in sources.splits})


def _fell(sources: Sources, split: str) -> set[str]:
    """Steps that are worse than the one before: beyond the interval, or by a notable amount where there is none."""
    pairs = zip(sources.steps, sources.steps[1:], strict=False)
    found = set()
    for before, after in pairs:
        ends = [sources.pooled(split, step, "miou") for step in (before, after)]
        row = sources.difference(split, before, after) or {}
        if Change("", "", ends[0], ends[1], row.get("miou")).is_fall:
            found.add(after)
    return found


def _iou_table(sources: Sources) -> Html:
    """Pooled IoU per step and class with intervals, after the figures of one constant answer."""
    splits = sources.splits
    groups = [head_cell(Html(""), "left"), *(head_cell(text(SPLIT_NAMES[s]), "group first", 4) for s in splits)]
    columns = [head_cell(Html("step"), "left")]
    columns += [head_cell(_column(name), "first" if name == "mIoU" else "") for _ in splits for name in _COLUMNS]
    cells = [left(f"always {sources.block('majority') or 'one class'}")]
    for split in splits:
        majority = sources.block("splits", split, "majority")
        cells += [cell(number(_plain(majority, c)), "first" if c == "mIoU" else "") for c in _COLUMNS]
    rows = [row(cells, "majority")]
    best = {(s, c): _best(sources, s, c) for s in splits for c in _COLUMNS}
    for step in sources.steps:
        cells = [left(step)]
        for split in splits:
            for column in _COLUMNS:
                found = _figure(sources, split, step, column)
                classes = "first miou" if column == "mIoU" else ""
                is_best = value_of(found) is not None and value_of(found) == best[split, column]
                cells.append(cell(interval(found), f"{classes} best".strip() if is_best else classes))
        rows.append(row(cells, "last" if step == sources.steps[-1] else ""))
    return table([groups, columns], rows, "wide", "IoU per step, split and class")


def _column(name: str) -> Html:
    return Html(name) if name == "mIoU" else class_name(name)


def _figure(sources: Sources, split: str, step: str, column: str) -> Interval:
    return sources.pooled(split, step, "miou") if column == "mIoU" else sources.pooled(split, step, "iou", column)


def _best(sources: Sources, split: str, column: str) -> float | None:
    values = [value_of(_figure(sources, split, step, column)) for step in sources.steps]
    return max((value for value in values if value is not None), default=None)


def _plain(found: Mapping[str, Any], column: str) -> float | None:
    """A figure without an interval."""
    return found.get("miou") if column == "mIoU" else found.get("iou", {}).get(column)


def _means(sources: Sources) -> list[Html]:
    """The same as means over slides and over patients, behind folds."""
    found = []
    for way, words in (("per_slide", "slides"), ("per_patient", "patients")):
        groups = [
            head_cell(Html(""), "left"),
            *(head_cell(text(SPLIT_NAMES[s]), "group first", 4) for s in sources.splits),
        ]
        columns = [head_cell(Html("step"), "left")]
        columns += [head_cell(_column(c), "first" if c == "mIoU" else "") for _ in sources.splits for c in _COLUMNS]
        rows = []
        for step in sources.steps:
            cells = [left(step)]
            for split in sources.splits:
                of_step = sources.block("figures", split, step, way)
                for column in _COLUMNS:
                    classes = "first miou" if column == "mIoU" else ""
                    cells.append(cell(interval(_plain_interval(of_step, column)), classes))
            rows.append(row(cells))
        body = table([groups, columns], rows, "wide", f"Means over {words}")
        found.append(details(f"The same as means over {words}", body))
    return found


def _plain_interval(found: Mapping[str, Any], column: str) -> Interval:
    return (found.get("miou") if column == "mIoU" else found.get("iou", {}).get(column)) or {}


def _differences(sources: Sources) -> list[Html]:
    """Paired differences: between steps, then against another run."""
    found = []
    rows = [(split, one) for split in sources.splits for one in sources.block("differences", split) or []]
    if rows:
        found += [heading("Paired differences between steps"), _difference_table(rows, sources.steps)]
    against = sources.block("against")
    if against:
        rows = [(split, one) for split, ones in against.get("differences", {}).items() for one in ones]
        found.append(heading(f"Against {against['name']}"))
        found.append(_difference_table(rows, []))
    if found:
        found.append(
            note(f"Red: the whole interval lies below 0, or a fall of {NOTABLE:g} and more without an interval.")
        )
    return found


def _difference_table(rows: list[tuple[str, dict[str, Any]]], steps: list[str]) -> Html:
    body = []
    before = ""
    for split, one in rows:
        overall = bool(steps) and len(steps) > 2 and (one["from"], one["to"]) == (steps[0], steps[-1])
        cells = [left(SPLIT_NAMES[split] if split != before else "")]
        cells.append(left(f"{one['from']} → {one['to']}"))
        cells.append(_change(one.get("miou"), "miou"))
        cells += [_change((one.get("iou") or {}).get(name)) for name in CLASSES]
        cells += [cell(text(len(one.get(key) or ()))) for key in ("better", "worse")]
        body.append(row(cells, " ".join(filter(None, ["last" if overall else "", "group" if split != before else ""]))))
        before = split
    head = [*head_row(["on", "from → to"], ["mIoU"]), *(head_cell(class_name(name)) for name in CLASSES)]
    head += head_row([], ["slides better", "worse"])
    return table([head], body, "wide", "Paired differences of IoU")


def _change(found: Interval | None, classes: str = "") -> Html:
    one = Change("", "", {}, {}, found or {})
    bounds = limits(found, 2, sign=True)
    shown = f"{signed(value_of(found))}{f'<small>{bounds}</small>' if bounds else ''}"
    marked = "fell" if one.is_fall else "rose" if one.is_clear else ""
    return cell(Html(shown), f"{classes} {marked}".strip())


def checks_part(checks: dict[str, Any]) -> Part | None:
    """None where the config asks for none."""
    if not checks["checks"]:
        return None
    rows = []
    for one in checks["checks"]:
        verdict = '<span class="pass">✓ passed</span>' if one["passed"] else '<span class="fail">✗ failed</span>'
        cells = [
            cell(Html(verdict), "left"),
            left(in_words(one["check"])),
            left(SPLIT_NAMES.get(one["split"], one["split"])),
        ]
        cells += [cell(text(signed(one["got"]))), cell(text(f"≥ {signed(one['margin'])}"))]
        rows.append(row(cells))
    head = head_row(["", "difference of", "on"], ["got", "needed"])
    lead = "Margins that the config asks for; a campaign that misses one ends with status 1."
    return part("Checks", lead, table([head], rows, "", "Checks"))
