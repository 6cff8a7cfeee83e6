"""The table of `mlseg plan`: for each phase what it asks for and what it is expected to take, as wide as the terminal.

In: phases with their completion, resources and expected cost. Out: a rich table; the columns that found no room.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launch.completion import Completion
from launch.config import CampaignConfig
from launch.estimate.costs import Cost, add_up
from launch.phases import MapKind, block_of, job_of, kind_of
from launch.resources.blocks import JobConfig
from launch.resources.gpus import asked_gpus
from launch.resources.quantities import size
from mlseg_core.progress import clock

_LEFT_OUT_FIRST = ("work", "writes", "wall", "GPU-h")
"""In this order columns are left out of a narrow table."""
_UNBOUNDED = 1000


@dataclass(frozen=True)
class Row:
    """One phase, or what is left of all."""

    name: str
    state: str
    job: JobConfig | None
    block: str
    is_map: bool
    cost: Cost | None


@dataclass(frozen=True)
class _Column:
    title: str
    cell: Callable[[Row], str]
    justify: str = "right"


def rows_of(config: CampaignConfig, completions: Sequence[Completion], costs: Sequence[Cost | None]) -> list[Row]:
    """In the order of the phases."""
    return [
        Row(
            f"{completion.phase.number:02d} {completion.phase.name}",
            "" if completion.state == "missing" else completion.state,
            job_of(config, completion.phase),
            block_of(config, completion.phase),
            isinstance(kind_of(completion.phase), MapKind),
            cost,
        )
        for completion, cost in zip(completions, costs, strict=True)
    ]


def table_of(rows: Sequence[Row], left: Sequence[Cost], console: Console) -> tuple[Table, list[str]]:
    """left: of the phases that are not done. Returns the table, and the titles of the columns that it has no room for."""
    columns = [
        _Column("phase", lambda row: row.name, "left"),
        _Column("", lambda row: row.state, "left"),
        _Column("block", lambda row: row.block, "left"),
        _Column("nodes × tasks", _size, "left"),
        _Column("GPUs", _gpus),
        _Column("limit", lambda row: _limit(row.job) if row.job else ""),
        _Column("work", _work),
        _Column("wall", lambda row: wall(row.cost)),
        _Column("GPU-h", lambda row: hours(row.cost)),
        _Column("writes", lambda row: size(row.cost.bytes) if row.cost else "?"),
    ]
    if not any(row.state for row in rows):
        columns.pop(1)
    missed: list[str] = []
    for title in ("", *_LEFT_OUT_FIRST):
        if title:
            columns = [column for column in columns if column.title != title]
            missed.append(title)
        table = _table(columns, rows, left)
        if console.measure(table, options=console.options.update(max_width=_UNBOUNDED)).maximum <= console.width:
            break
    return table, missed


def _table(columns: Sequence[_Column], rows: Sequence[Row], left: Sequence[Cost]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.title, justify=column.justify, no_wrap=True)  # type: ignore[arg-type]
    for row in rows:
        table.add_row(*(escape(column.cell(row)) for column in columns))
    if left:
        seconds, gpu_hours, written = add_up(left)
        total = Row("left", "", None, "", False, Cost(0, "", 0, None, seconds, gpu_hours, written))
        table.add_section()
        table.add_row(*(column.cell(total) for column in columns), style="bold")
    return table


def _size(row: Row) -> str:
    """`2 × 8`; of a map the number of jobs in its array, each of so many nodes × tasks."""
    if row.job is None:
        return ""
    each = f"{row.job.nodes} × {row.job.tasks_per_node}"
    if not row.is_map:
        return each
    return f"array of {row.job.workers}" + (f", {each}" if row.job.tasks > 1 else "")


def _gpus(row: Row) -> str:
    """Of all the phase's jobs at once, with their type where it is named."""
    if row.job is None:
        return ""
    count = asked_gpus(row.job).per_node * row.job.nodes * (row.job.workers if row.is_map else 1)
    kind = row.job.gpus.partition(":")[0] if isinstance(row.job.gpus, str) and row.job.gpus.count(":") == 1 else ""
    return " ".join(filter(None, [f"{count}", kind])) if count else "–"


def _limit(job: JobConfig) -> str:
    """A job's time limit: `30m`, `12h`, `1d 12h`."""
    days, minutes = divmod(job.minutes, 1440)
    parts = [(days, "d"), (minutes // 60, "h"), (minutes % 60, "m")]
    return " ".join(f"{count}{unit}" for count, unit in parts if count)


def _work(row: Row) -> str:
    if row.cost is None:
        return "?"
    return f"{row.cost.work:,} {row.cost.unit}" if row.cost.unit else ""


def wall(cost: Cost | None) -> str:
    """The expected wall time; `?` where no rate is known."""
    return "?" if cost is None or cost.wall_s is None else clock(max(1.0, cost.wall_s))


def hours(cost: Cost | None) -> str:
    if cost is None or cost.gpu_hours is None:
        return "?"
    return f"{cost.gpu_hours:,.1f}" if cost.gpu_hours else "–"
