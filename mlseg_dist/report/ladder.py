"""The first sections: how far each step came on every split, differences between steps, and the config's checks."""

from collections.abc import Callable, Mapping
from typing import Any

from mlseg_dist.report import figures
from mlseg_dist.report.html import (
    Html,
    Part,
    cell,
    class_name,
    details,
    figure,
    grid,
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
from mlseg_dist.report.words import LEARNT, ORDER, SPLIT_NAMES, Interval, counted, limits, share, signed, value_of

COLUMNS = ("mIoU", *ORDER)


def results(sources: Sources) -> Part | None:
    if sources.evaluation is None or not sources.steps:
        return None
    drawn = figure(_chart(sources), "Mean IoU of every step on every split, with intervals", "chart")
    body = [drawn, heading("IoU per step and class"), _pooled(sources), *_means(sources), *_differences(sources)]
    return part("Results", _lead(sources), *body)


def _lead(sources: Sources) -> str:
    said = (
        "Every annotated pixel counts once, on slides stitched as prediction stitches them. Brackets are 95\u00a0% intervals of a "
        "bootstrap over patients; below five patients there is none."
    )
    if "val" in sources.splits:
        said += " The validation slides also chose the teachers"
        said += ": quote the other splits." if len(sources.splits) > 1 else ", so these figures are no test of them."
    if sources.block("cross_fit"):
        said += " For each validation patient the threshold was chosen on the others."
    return said


def _chart(sources: Sources) -> bytes:
    found = {s: {step: sources.pooled(s, step, "miou") for step in sources.steps} for s in sources.splits}
    majority = {s: sources.block("splits", s, "majority").get("miou") for s in sources.splits}
    beside = {
        s: {own: sources.pooled(s, control, "miou") for control, own in sources.controls.items()}
        for s in sources.splits
    }
    return figures.ladder(sources.steps, found, majority, {s: _fell(sources, s) for s in sources.splits}, beside)


def _fell(sources: Sources, split: str) -> set[str]:
    """Steps that are worse than the one before: beyond the interval, or by a notable amount where there is none."""
    found = set()
    for before, after in zip(sources.steps, sources.steps[1:], strict=False):
        was, now = (sources.pooled(split, step, "miou") for step in (before, after))
        row = sources.difference(split, before, after) or {}
        if Change("mean IoU", "", was, now, row.get("miou")).is_fall:
            found.add(after)
    return found


def by_split(sources: Sources, make: Callable[[str], Html | None], level: int = 3) -> Html:
    """A block a split, side by side where there is room; splits of which there is nothing to show are left out.

    level: of the blocks' headings, one more than that of the heading above them.
    """
    shown = [(split, make(split)) for split in sources.splits]
    blocks = []
    for split, made in shown:
        if made is not None:
            facts = sources.block("splits", split)
            size = f"{counted(facts.get('patients', 0), 'patient')}, {counted(facts.get('slides', 0), 'slide')}"
            title = f'<h{level} class="block">{text(SPLIT_NAMES[split])} <small>{size}</small></h{level}>'
            blocks.append(Html(f"<div>{title}{made}</div>"))
    return grid(blocks, "two")


def _pooled(sources: Sources) -> Html:
    """Pooled IoU with intervals, after the figures of one constant answer; the best of each column is bold."""

    def block(split: str) -> Html:
        majority = sources.block("splits", split, "majority")
        constant = [cell(number(value_in(majority, column))) for column in COLUMNS]
        rows = [row([left(f"always {sources.block('majority') or 'one class'}"), *constant], "majority")]
        best = {column: _best(sources, split, column) for column in COLUMNS}
        for step in [*sources.steps, *sources.controls]:
            cells = [left(step)]
            for column in COLUMNS:
                found = _figure(sources, split, step, column)
                is_best = value_of(found) is not None and value_of(found) == best[column]
                classes = ["miou" if column == "mIoU" else "", "best" if is_best else ""]
                cells.append(cell(interval(found), " ".join(filter(None, classes))))
            rows.append(row(cells, _kind_of_row(sources, step)))
        return table([_head()], rows, "", f"IoU on {SPLIT_NAMES[split]}")

    return by_split(sources, block, level=4)


def _kind_of_row(sources: Sources, step: str) -> str:
    if step in sources.controls:
        return "control"
    return "last" if step == sources.steps[-1] else ""


def _head() -> list[Html]:
    return [head_cell(text("step"), "left"), *(head_cell(_title(column)) for column in COLUMNS)]


def _title(column: str) -> Html:
    return text(column) if column == "mIoU" else class_name(column)


def _figure(sources: Sources, split: str, step: str, column: str) -> Interval:
    return sources.pooled(split, step, "miou") if column == "mIoU" else sources.pooled(split, step, "iou", column)


def _best(sources: Sources, split: str, column: str) -> float | None:
    values = [value_of(_figure(sources, split, step, column)) for step in [*sources.steps, *sources.controls]]
    return max((value for value in values if value is not None), default=None)


def value_in(found: Mapping[str, Any], column: str) -> Any:
    """The figure of one of the columns, from {"miou", "iou": {class}}."""
    return found.get("miou") if column == "mIoU" else found.get("iou", {}).get(column)


def _means(sources: Sources) -> list[Html]:
    """The same as means over slides and over patients, behind folds."""
    found = []
    for way, words in (("per_slide", "slides"), ("per_patient", "patients")):

        def block(split: str, way: str = way) -> Html:
            rows = []
            for step in sources.steps:
                means = sources.block("figures", split, step, way)
                cells = [cell(interval(value_in(means, c)), "miou" if c == "mIoU" else "") for c in COLUMNS]
                rows.append(row([left(step), *cells], "last" if step == sources.steps[-1] else ""))
            return table([_head()], rows, "", f"Mean IoU on {SPLIT_NAMES[split]}")

        found.append(details(f"The same as means over {words}", by_split(sources, block, level=4)))
    return found


def _differences(sources: Sources) -> list[Html]:
    """Paired differences: between steps, then against another run."""
    found = []
    if any(sources.block("differences", split) for split in sources.splits):
        found += [
            heading("Paired differences between steps"),
            _difference_blocks(sources, sources.block("differences")),
        ]
    against = sources.block("against")
    if against:
        found += [heading(f"Against {against['name']}"), _difference_blocks(sources, against.get("differences") or {})]
    if found:
        legend = f"Red: the whole interval lies below 0, or a fall of {share(NOTABLE, 2)} and more without an interval."
        found.append(note(f"{legend} Slides count as better or worse when their own mean IoU moved by more than .01."))
    return found


def _difference_blocks(sources: Sources, rows_of: Mapping[str, list[dict[str, Any]]]) -> Html:
    steps = sources.steps

    def block(split: str) -> Html | None:
        rows = []
        for one in rows_of.get(split) or []:
            is_overall = len(steps) > 2 and (one["from"], one["to"]) == (steps[0], steps[-1])
            cells = [left(f"{one['from']} → {one['to']}"), _change(one.get("miou"), "miou")]
            cells += [_change((one.get("iou") or {}).get(name)) for name in LEARNT]
            better, worse = (len(one.get(key) or ()) for key in ("better", "worse"))
            cells.append(cell(Html(f"{better:,} better<small>{worse:,} worse</small>")))
            rows.append(row(cells, "last" if is_overall else ""))
        head = [*head_row(["from → to"], ["mIoU"]), *(head_cell(class_name(name)) for name in LEARNT)]
        head.append(head_cell(text("slides")))
        return table([head], rows, "", f"Paired differences on {SPLIT_NAMES[split]}") if rows else None

    return by_split(sources, block, level=4)


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
        cells = [cell(Html(verdict), "left"), cell(text(in_words(one["check"])), "left wrap")]
        cells.append(left(SPLIT_NAMES.get(one["split"], one["split"])))
        cells += [cell(text(signed(one["got"]))), cell(text(f"≥ {signed(one['margin'])}"))]
        rows.append(row(cells))
    head = head_row(["", "difference of", "on"], ["got", "needed"])
    lead = "Margins that the config asks for; a campaign that misses one ends with status 1."
    return part("Checks", lead, table([head], rows, "", "Checks"))
