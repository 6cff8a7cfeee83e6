"""The table at the end of a campaign: IoU per step and class on every split, checks, and where the page lies. No torch."""

from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlseg_core.files import read_json
from mlseg_dist.config import CLASSES
from mlseg_dist.report.metrics import in_words


def print_table(run: Path, console: Console | None = None) -> None:
    """Show RUN/report/metrics.json and checks.json. Raises UserError when they are missing."""
    console = console or Console()
    report = run / "report"
    metrics, checks = read_json(report / "metrics.json"), read_json(report / "checks.json")
    if metrics["steps"]:
        console.print(iou_table(metrics))
    else:
        console.print("No step has been evaluated yet.")
    for row in checks["checks"]:
        console.print(_check(row))
    console.print(f"report: {report / 'index.html'}", markup=False, highlight=False, soft_wrap=True)


def iou_table(metrics: dict[str, Any]) -> Table:
    """One row a step under one of always answering the majority class; the best of each column is bold."""
    splits = [name for name in metrics["steps"][0] if name != "step"]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title="IoU", title_justify="left")
    table.add_column("step", no_wrap=True)
    for split in splits:
        for position, name in enumerate(("mIoU", *CLASSES)):
            table.add_column(f"{split if position == 0 else ''}\n{name}", justify="right", no_wrap=True)
    majority = metrics["test"]["majority"]
    row = [_number(value) for split in splits for value in _values(majority[split])]
    table.add_row(f"always {majority['class']}", *row, style="dim", end_section=True)
    columns = [[value for split in splits for value in _values(step[split])] for step in metrics["steps"]]
    best = [
        max((value for value in column if value is not None), default=None) for column in zip(*columns, strict=True)
    ]
    for step, values in zip(metrics["steps"], columns, strict=True):
        cells = [
            f"[bold]{_number(v)}[/]" if v is not None and v == b else _number(v)
            for v, b in zip(values, best, strict=True)
        ]
        table.add_row(escape(step["step"]), *cells)
    return table


def _values(figures: dict[str, Any]) -> list[float | None]:
    return [figures["miou"], *(figures["iou"][name] for name in CLASSES)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _check(row: dict[str, Any]) -> str:
    verdict = "[green]passed[/]" if row["passed"] else "[red]FAILED[/]"
    got = "no figure" if row["got"] is None else f"{row['got']:+.3f}"
    return f"check {in_words(row['check'])} on {escape(row['split'])}: {got}, needed ≥ {row['margin']:+.3f}: {verdict}"
