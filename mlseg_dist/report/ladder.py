"""The first sections: how far each step came on every split, differences between steps, and the config's checks."""

from collections.abc import Mapping
from typing import Any

from mlseg_core.html import Cell, Html, Row, Section, details, head_row, heading, join, left, note, table
from mlseg_dist.report import figures
from mlseg_dist.report.elements import by_split, class_heads, class_name, drawing, interval, made
from mlseg_dist.report.figure_ids import figure_id, target
from mlseg_dist.report.metrics import in_words
from mlseg_dist.report.sources import Sources
from mlseg_dist.report.verdict import NOTABLE, Change
from mlseg_dist.report.words import LEARNT, ORDER, SPLIT_NAMES, Interval, limits, share, signed, value_of

COLUMNS = ("mIoU", *ORDER)


def results(sources: Sources) -> Section | None:
    if sources.evaluation is None or not sources.steps:
        return None
    drawn = drawing(
        _chart(sources), "Mean IoU of every step on every split, with intervals", "chart", figure_id("ladder")
    )
    body = [
        drawn,
        heading("IoU per step and class"),
        target("pooled"),
        _pooled(sources),
        *_means(sources),
        *_differences(sources),
    ]
    return Section("Results", _lead(sources), body)


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


def _pooled(sources: Sources) -> Html:
    """Pooled IoU with intervals, after the figures of one constant answer; the best of each column is bold."""

    def block(split: str) -> Html:
        majority = sources.block("splits", split, "majority")
        constant = [share(value_in(majority, column)) for column in COLUMNS]
        rows = [Row([left(f"always {sources.block('majority') or 'one class'}"), *constant], "majority")]
        best = {column: _best(sources, split, column) for column in COLUMNS}
        for step in [*sources.steps, *sources.controls]:
            cells = [left(step)]
            for column in COLUMNS:
                found = _figure(sources, split, step, column)
                is_best = value_of(found) is not None and value_of(found) == best[column]
                classes = ["miou" if column == "mIoU" else "", "best" if is_best else ""]
                cells.append(interval(found, " ".join(filter(None, classes))))
            rows.append(Row(cells, _kind_of_row(sources, step)))
        return table([_head()], rows, "", f"IoU on {SPLIT_NAMES[split]}")

    return by_split(sources, block, level=4)


def _kind_of_row(sources: Sources, step: str) -> str:
    if step in sources.controls:
        return "control"
    return "last" if step == sources.steps[-1] else ""


def _head() -> list[Cell]:
    return head_row(["step"], [column if column == "mIoU" else class_name(column) for column in COLUMNS])


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
                cells = [interval(value_in(means, c), "miou" if c == "mIoU" else "") for c in COLUMNS]
                rows.append(Row([left(step), *cells], "last" if step == sources.steps[-1] else ""))
            return table([_head()], rows, "", f"Mean IoU on {SPLIT_NAMES[split]}")

        body = by_split(sources, block, level=4)
        body = join([target("per-slide"), body]) if way == "per_slide" else body
        found.append(details(f"The same as means over {words}", body))
    return found


def _differences(sources: Sources) -> list[Html]:
    """Paired differences: between steps, then against another run."""
    found = []
    if any(sources.block("differences", split) for split in sources.splits):
        found += [
            heading("Paired differences between steps"),
            target("differences"),
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
            cells.append(Cell(f"{better:,} better", small=f"{worse:,} worse"))
            rows.append(Row(cells, "last" if is_overall else ""))
        head = [*head_row(["from → to"], ["mIoU"]), *class_heads(LEARNT), "slides"]
        return table([head], rows, "", f"Paired differences on {SPLIT_NAMES[split]}") if rows else None

    return by_split(sources, block, level=4)


def _change(found: Interval | None, classes: str = "") -> Cell:
    one = Change("", "", {}, {}, found or {})
    marked = "fell" if one.is_fall else "rose" if one.is_clear else ""
    return Cell(signed(value_of(found)), f"{classes} {marked}".strip(), small=limits(found, 2, sign=True))


def checks_part(checks: dict[str, Any]) -> Section | None:
    """None where the config asks for none."""
    if not checks["checks"]:
        return None
    rows = []
    for one in checks["checks"]:
        cells = [left(made.verdict(one["passed"])), Cell(in_words(one["check"]), "left wrap")]
        cells.append(left(SPLIT_NAMES.get(one["split"], one["split"])))
        rows.append([*cells, signed(one["got"]), f"≥ {signed(one['margin'])}"])
    head = head_row(["", "difference of", "on"], ["got", "needed"])
    lead = "Margins that the config asks for; a campaign that misses one ends with status 1."
    return Section("Checks", lead, [table([head], rows, "", "Checks")])
