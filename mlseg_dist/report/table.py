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
        console.print(_check(row), soft_wrap=True, highlight=False)
    console.print(f"report: {report / 'index.html'}", markup=False, highlight=False, soft_wrap=True)


def iou_table(metrics: dict[str, Any]) -> Table:
    """A section per split: always answering the majority class, then one row a step; the best of each column is bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("IoU on", "step", "mIoU", *CLASSES):
        table.add_column(name, justify="left" if name in ("IoU on", "step") else "right", no_wrap=True)
    majority = metrics["test"]["majority"]
    for split in [name for name in metrics["steps"][0] if name != "step"]:
        cells = [_number(value) for value in _values(majority[split])]
        table.add_row(
            f"[bold]{split}[/]", f"[dim]always {majority['class']}[/]", *(f"[dim]{cell}[/]" for cell in cells)
        )
        rows = [_values(step[split]) for step in metrics["steps"]]
        best = [max((v for v in column if v is not None), default=None) for column in zip(*rows, strict=True)]
        for step, values in zip(metrics["steps"], rows, strict=True):
            last = step is metrics["steps"][-1]
            cells = [_cell(value, value == top) for value, top in zip(values, best, strict=True)]
            table.add_row("", escape(step["step"]), *cells, end_section=last)
    return table


def _cell(value: float | None, best: bool) -> str:
    return f"[bold]{_number(value)}[/]" if best and value is not None else _number(value)


def _values(figures: dict[str, Any]) -> list[float | None]:
    return [figures["miou"], *(figures["iou"][name] for name in CLASSES)]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _check(row: dict[str, Any]) -> str:
    verdict = "[green]passed[/]" if row["passed"] else "[red]FAILED[/]"
    got = "no figure" if row["got"] is None else f"{row['got']:+.3f}"
    what = f"{in_words(row['check'])} on {escape(row['split'])}"
    return f"{verdict}  {what}: {got} (needed {row['margin']:+.3f})"
