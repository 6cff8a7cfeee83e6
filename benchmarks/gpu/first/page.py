"""A stage's results as Markdown: a line for each part, then its rows as a table."""

from collections.abc import Sequence
from typing import Any

from benchmarks.gpu.first.parts import Result


def markdown(title: str, command: str, where: str, results: Sequence[Result]) -> str:
    """where: the machine, in words."""
    lines = [f"# {title}", "", f"`{command}` on {where}.", "", "| part | | seconds | decides |", "|---|---|---:|---|"]
    for result in results:
        state = f"**{result.state}**" if result.state != "done" else "done"
        why = f": {_cell(result.why)}" if result.why else ""
        lines.append(f"| [{result.part}](#{result.part}) | {state}{why} | {result.seconds:.0f} | {result.decides} |")
    for result in results:
        lines += ["", f"## {result.part}", "", f"{result.title}.", "", *_table(result.rows)]
    return "\n".join(lines) + "\n"


def _table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Rows of like columns stand in one table; where the columns change, a new one begins."""
    lines: list[str] = []
    columns: tuple[str, ...] = ()
    for row in rows:
        if tuple(row) != columns:
            columns = tuple(row)
            number = [isinstance(row[name], int | float) and not isinstance(row[name], bool) for name in columns]
            lines += [""] if lines else []
            lines += [f"| {' | '.join(columns)} |", "|" + "".join("---:|" if n else "---|" for n in number)]
        lines.append(f"| {' | '.join(_cell(row[name]) for name in columns)} |")
    return lines or ["No row was measured."]


def _cell(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"
    return str(value).replace("|", "\\|").replace("\n", " ")
