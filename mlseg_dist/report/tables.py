"""The page's tables: IoU per step and class, checks, confusion matrices, areas under curves, bad regions, hashes."""

from collections.abc import Callable
from typing import Any

from mlseg_dist.config import CLASSES
from mlseg_dist.report.headline import NAMES
from mlseg_dist.report.html import Html, cell, details, grid, head_cell, join, number, signed, table, text
from mlseg_dist.report.metrics import in_words
from mlseg_dist.report.sources import Sources

Figures = Callable[[dict[str, Any]], dict[str, Any]]
_COLUMNS = ("mIoU", *CLASSES)


def iou_table(sources: Sources) -> Html:
    """Pooled IoU per step and class with the baseline, and the means over slides behind a fold."""
    pooled = _iou_rows(sources, "pooled", with_majority=True)
    slides = _iou_rows(sources, "per_slide", with_majority=False)
    return join([pooled, details("The same as means over slides", slides)])


def _iou_rows(sources: Sources, way: str, with_majority: bool) -> Html:
    assert sources.evaluation is not None
    splits = sources.splits
    groups = [head_cell(Html(""), "left"), *(head_cell(text(NAMES[s]), "group first", 4) for s in splits)]
    columns = [head_cell(Html("step"), "left")]
    for _ in splits:
        columns += [head_cell(_column(name), "first" if name == "mIoU" else "") for name in _COLUMNS]
    best = {
        (s, c): max((_value(step["splits"][s][way], c) or 0) for step in sources.steps)
        for s in splits
        for c in _COLUMNS
    }
    rows = []
    if with_majority:
        cells = [cell(text(f"always {sources.evaluation['majority']}"), "left")]
        cells += [_iou_cell(sources.evaluation["splits"][s]["majority"], c, None) for s in splits for c in _COLUMNS]
        rows.append(Html(f'<tr class="majority">{join(cells, "")}</tr>'))
    for step in sources.steps:
        cells = [cell(text(step["step"]), "left")]
        cells += [_iou_cell(step["splits"][s][way], c, best[s, c]) for s in splits for c in _COLUMNS]
        rows.append(Html(f'<tr class="{"last" if step is sources.steps[-1] else ""}">{join(cells, "")}</tr>'))
    return table([groups, columns], rows, "wide")


def _column(name: str) -> Html:
    return Html(name) if name == "mIoU" else Html(f'<span class="dot {name}"></span>{name}')


def _value(figures: dict[str, Any], column: str) -> float | None:
    return figures["miou"] if column == "mIoU" else figures["iou"][column]


def _iou_cell(figures: dict[str, Any], column: str, best: float | None) -> Html:
    value = _value(figures, column)
    classes = "first miou" if column == "mIoU" else ""
    if best and value == best:
        classes += " best"
    return cell(number(value), classes.strip())


def checks_table(checks: dict[str, Any]) -> Html:
    rows = []
    for row in checks["checks"]:
        verdict = '<span class="pass">✓ passed</span>' if row["passed"] else '<span class="fail">✗ failed</span>'
        cells = [
            cell(Html(verdict), "left"),
            cell(text(in_words(row["check"])), "left"),
            cell(text(NAMES.get(row["split"], row["split"])), "left"),
            cell(signed(row["got"])),
            cell(Html(f"≥ {signed(row['margin'])}")),
        ]
        rows.append(Html(f"<tr>{join(cells, '')}</tr>"))
    head = [head_cell(Html(name), "left") for name in ("", "mIoU of", "on")]
    head += [head_cell(Html("got")), head_cell(Html("needed"))]
    return table([head], rows)


def confusion_matrices(sources: Sources) -> Html:
    """Of the last step, one a split; the first step's behind a fold."""
    last = grid((_confusion(s, sources.steps[-1]["splits"][s]["pooled"]) for s in sources.splits), "three")
    if len(sources.steps) == 1:
        return last
    first = grid((_confusion(s, sources.steps[0]["splits"][s]["pooled"]) for s in sources.splits), "three")
    return join([last, details(f"The same for {sources.steps[0]['step']}", first)])


def _confusion(split: str, figures: dict[str, Any]) -> Html:
    head = [head_cell(Html("")), *(head_cell(Html(name)) for name in CLASSES)]
    rows = []
    for name, counts in zip(CLASSES, figures["confusion"], strict=True):
        cells = [head_cell(Html(f'<span class="dot {name}"></span>{name}'))]
        for count in counts:
            share = count / sum(counts) if sum(counts) else None
            cells.append(_share_cell(share, count))
        rows.append(Html(f"<tr>{join(cells, '')}</tr>"))
    accuracy = number(figures["accuracy"])
    return Html(f"<div><h3>{text(NAMES[split])} · accuracy {accuracy}</h3>{table([head], rows, 'confusion')}</div>")


def _share_cell(share: float | None, count: int) -> Html:
    strength = share or 0.0
    colour = "#fff" if strength > 0.45 else "#1c2330"
    style = f"background:rgba(31,78,140,{0.05 + 0.9 * strength:.2f});color:{colour}"
    shown = "–" if share is None else f"{100 * share:.1f} %"
    return cell(Html(f"{shown}<small>{_short_count(count)}</small>"), style=style)


def _short_count(pixels: int) -> str:
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if pixels >= size:
            return f"{pixels / size:.1f} {unit}px"
    return f"{pixels} px"


def area_table(sources: Sources) -> Html:
    """AUC, average precision, precision and recall at the threshold, per class and split, of the last step."""
    assert sources.evaluation is not None
    rows = []
    for name in ("tumour", "others"):
        for split in sources.splits:
            curve = sources.evaluation["curves"][split][name]
            pooled = sources.steps[-1]["splits"][split]["pooled"]
            cells = [cell(_column(name), "left"), cell(text(NAMES[split]), "left")]
            cells += [cell(number(curve.get(key))) for key in ("auc", "average_precision")]
            cells += [cell(number(pooled[key][name])) for key in ("precision", "recall", "iou")]
            rows.append(Html(f"<tr>{join(cells, '')}</tr>"))
    head = [head_cell(Html(title), "left") for title in ("class", "split")]
    head += [head_cell(Html(title)) for title in ("AUC", "average precision", "precision", "recall", "IoU")]
    return table([head], rows)


def bad_region_table(sources: Sources) -> Html | None:
    """Part of folds, bubbles, blur and artefacts that each step calls `others`; None where nobody annotated any."""
    splits = [s for s in sources.splits if sources.steps[-1]["splits"][s]["bad_regions"]["pixels"]]
    if not splits:
        return None
    kinds = sorted({kind for s in splits for kind in sources.steps[-1]["splits"][s]["bad_regions"]["each"]})
    head = [head_cell(Html("split"), "left"), head_cell(Html("step"), "left"), head_cell(Html("all"))]
    head += [head_cell(text(kind)) for kind in kinds]
    rows = []
    for split in splits:
        for step in sources.steps[:: max(1, len(sources.steps) - 1)]:
            found = step["splits"][split]["bad_regions"]
            cells = [cell(text(NAMES[split]), "left"), cell(text(step["step"]), "left"), cell(number(found["recall"]))]
            cells += [cell(number(found["each"].get(kind, {}).get("recall"))) for kind in kinds]
            rows.append(Html(f"<tr>{join(cells, '')}</tr>"))
    return table([head], rows)


def hash_table(hashes: dict[str, str]) -> Html:
    rows = [
        Html(f"<tr>{cell(text(what), 'left')}{cell(Html(f'<code>{text(digest)}</code>'), 'hash')}</tr>")
        for what, digest in hashes.items()
    ]
    return table([[head_cell(Html("what"), "left"), head_cell(Html("sha256"), "left")]], rows)
