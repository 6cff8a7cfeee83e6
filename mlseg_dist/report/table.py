"""The table at the end of a campaign: IoU per step on every split with intervals, checks, and where the page lies. No torch."""

from pathlib import Path
from typing import Any, Literal

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mlseg_core.files import read_json
from mlseg_dist.report.metrics import in_words
from mlseg_dist.report.words import ORDER, counted, limits, place_of, share, signed

EARLIER = (
    "These figures are of an earlier version, which counted pixels of overlapping patches several times: they are too high. "
    "`mlseg evaluate RUN`, then `mlseg report RUN`, makes new ones."
)


_STEP_CHARS = 14
_OF_LABELS = "How much of what each round accepted is expected to be right, by its answers on the validation slides."


def print_table(run: Path, console: Console | None = None, page: str = "index.html") -> None:
    """Show RUN/report/metrics.json and checks.json. page: the file that is named at the end.

    Raises UserError when they are missing.
    """
    console = console or Console()
    report = run / "report"
    metrics, checks = read_json(report / "metrics.json"), read_json(report / "checks.json")
    if metrics["steps"]:
        console.print(iou_table(metrics))
        console.print(EARLIER if _is_earlier(metrics) else _legend(metrics), style="dim", highlight=False)
    else:
        console.print("No step has been evaluated yet.")
    if metrics.get("labels"):
        console.print()
        console.print(_labels(metrics["labels"]))
        console.print(_OF_LABELS, style="dim", highlight=False)
    if checks["checks"]:
        console.print()
        console.print(_checks(checks["checks"]))
    if metrics.get("gain"):
        console.print()
        console.print(metrics["gain"], markup=False, highlight=False)
    console.print(f"report: {report / page}", markup=False, highlight=False, soft_wrap=True)


def iou_table(metrics: dict[str, Any]) -> Table:
    """A section per split: one constant answer, then one row a step; the best of each column is bold."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    has_intervals = not _is_earlier(metrics)
    for name in ("IoU on", "step", "mean", *(["95 %"] if has_intervals else []), *ORDER):
        justify: Literal["left", "right"] = "left" if name in ("IoU on", "step", "95 %") else "right"
        table.add_column(
            name, justify=justify, no_wrap=name != "step", max_width=_STEP_CHARS if name == "step" else None
        )
    majority, controls = metrics["test"]["majority"], metrics.get("controls", [])
    for split in _splits(metrics):
        constant = [f"[dim]{share(value)}[/]" for value in _values(majority[split])]
        if has_intervals:
            constant.insert(1, "")
        table.add_row(f"[bold]{split}[/]", f"[dim]all {majority['class']}[/]", *constant)
        rows = [_values(step[split]) for step in metrics["steps"]]
        best = [max((v for v in column if v is not None), default=None) for column in zip(*rows, strict=True)]
        for step, values in zip(metrics["steps"], rows, strict=True):
            cells = [_cell(value, value == top) for value, top in zip(values, best, strict=True)]
            if has_intervals:
                cells.insert(1, _interval(step[split]))
            patients = counted(step[split].get("patients") or 0, "patient") if has_intervals else ""
            first = f"[dim]{patients}[/]" if step is metrics["steps"][0] else ""
            table.add_row(
                first, escape(step["step"]), *cells, end_section=step is metrics["steps"][-1] and not controls
            )
        for control in controls:
            cells = [f"[dim]{share(value)}[/]" for value in _values(control[split])]
            cells.insert(1, f"[dim]{_interval(control[split])}[/]")
            step = _of_control(control, metrics["steps"])
            table.add_row("", f"[dim]{escape(step)}[/]", *cells, end_section=control is controls[-1])
    return table


def _of_control(control: dict[str, Any], steps: list[dict[str, Any]]) -> str:
    """`human-only` beside the last step, which is what people look at; else which step's control it is, on a line of its own."""
    name = control["step"].removesuffix(f"-{control['of']}")
    return name if control["of"] == steps[-1]["step"] else f"{name} ({control['of']})"


def _splits(metrics: dict[str, Any]) -> list[str]:
    """As on the page: those that chose nothing first."""
    names = [name for name in metrics["steps"][0] if name != "step"]
    return sorted(names, key=place_of)


def _is_earlier(metrics: dict[str, Any]) -> bool:
    """Whether the figures are those of patches, which have no intervals over patients."""
    return not any(
        "patients" in found for step in metrics["steps"] for found in step.values() if isinstance(found, dict)
    )


def _legend(metrics: dict[str, Any]) -> str:
    missing = any(step[split].get("low") is None for step in metrics["steps"] for split in _splits(metrics))
    said = "Every annotated pixel once; 95 % intervals over patients"
    return f"{said}, from five patients on." if missing else f"{said}."


def _cell(value: float | None, best: bool) -> str:
    return f"[bold]{share(value)}[/]" if best and value is not None else share(value)


def _interval(found: dict[str, Any]) -> str:
    return escape(limits(found)) or "[dim]–[/]"


def _values(figures: dict[str, Any]) -> list[float | None]:
    return [figures["miou"], *(figures["iou"][name] for name in ORDER)]


def _labels(rounds: list[dict[str, Any]]) -> Table:
    """A row a round of labels and view: how often its teacher is expected to be right where it is accepted."""
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("labels right", "teacher", "view", *ORDER):
        found.add_column(name, justify="right" if name in ORDER else "left", no_wrap=True)
    for one in rounds:
        views = list(one["precision"])
        for view in views:
            first = [f"round {one['round']}", escape(one["teacher"])] if view == views[0] else ["", ""]
            found.add_row(*first, view, *(share(one["precision"][view].get(name)) for name in ORDER))
    return found


def _checks(rows: list[dict[str, Any]]) -> Table:
    """A line a check: what was compared, on which split, what it gave and what it needed."""
    table = Table.grid(padding=(0, 2, 0, 0))
    for row in rows:
        verdict = "[green]passed[/]" if row["passed"] else "[red]FAILED[/]"
        got = "no figure" if row["got"] is None else signed(row["got"])
        what = in_words(row["check"]).replace("always the majority", "the majority")
        table.add_row(verdict, escape(row["split"]), escape(what), got, f"[dim]≥ {signed(row['margin'])}[/]")
    return table
