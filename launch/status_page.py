"""The page of `mlseg status`: what needs a person first, then what runs, then the rest, in as many lines as the terminal has.

In: a CampaignStatus, the terminal's height. Out: a rich renderable. Where there is no room for a row a phase, phases that wait and
phases that are done share a line; what needs a person and what runs are shortened last.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from launch.slurm.queue import in_words
from launch.status import CampaignStatus, PhaseStatus
from mlseg_core.progress import Tally, describe

_STYLES = {
    "done": "green",
    "running": "bold blue",
    "queued": "cyan",
    "failed": "bold red",
    "lost": "bold red",
    "stale": "yellow",
    "interrupted": "yellow",
    "unknown": "yellow",
    "waiting": "dim",
}
_BAD = ("failed", "lost")
_JOBS = 3
_DAY_S = 20 * 3600.0
_BEHIND = in_words("Dependency")
_PLENTY = 1000
_NO_BREAK = "\u00a0"


@dataclass(frozen=True)
class _Room:
    """later, done: whether those phases have a row each, share a line with names (`names`), or without (`count`).

    lines: of each phase that runs or needs a person.
    """

    later: str = "rows"
    done: str = "rows"
    lines: int = _PLENTY


_ROOMS = (
    _Room(),
    _Room("names"),
    _Room("names", "names"),
    _Room("count", "names"),
    _Room("count", "count"),
    _Room("count", "count", 3),
    _Room("count", "count", 2),
    _Room("count", "count", 1),
)
"""From a page with all there is to the shortest."""


def page(now: CampaignStatus, console: Console, height: int | None = None, footer: str = "") -> RenderableType:
    """All that a person sees. height: lines that it may take; None: any number. footer: the last line, "" for none."""
    for room in _ROOMS if height is not None else _ROOMS[:1]:
        made = _page(now, room, footer)
        if height is None or len(console.render_lines(made, pad=False)) <= height:
            return made
    return _cut(made, console, height or _PLENTY, footer)


def _cut(made: RenderableType, console: Console, height: int, footer: str) -> RenderableType:
    """The first lines, on a terminal of a few lines."""
    kept = height - 1 - bool(footer)
    with console.capture() as captured:
        console.print(made)
    lines = captured.get().splitlines()[:kept]
    more = Text("… a taller terminal shows the rest", style="dim")
    return Group(*(Text.from_ansi(line) for line in lines), more, *([_footer(footer)] if footer else []))


def _page(now: CampaignStatus, room: _Room, footer: str) -> RenderableType:
    first = [phase for phase in now.phases if _group(phase) == "first"]
    later = [phase for phase in now.phases if _group(phase) == "later"]
    done = [phase for phase in now.phases if _group(phase) == "done"]
    first.sort(key=lambda phase: (phase.state not in _BAD, phase.state != "running", phase.number))
    parts: list[RenderableType] = [*_head(now)]
    rows = [*first, *(later if room.later == "rows" else []), *(done if room.done == "rows" else [])]
    if rows:
        parts.append(_table(now, rows, room.lines))
    if room.later != "rows" and later:
        parts.append(_together("then", later, room.later))
    if room.done != "rows" and done:
        parts.append(_together("done", done, room.done))
    if footer:
        parts.append(_footer(footer))
    return Group(*parts)


def _group(phase: PhaseStatus) -> str:
    """first: runs, needs a person or is next; later: waits for other phases; done."""
    if phase.state == "done":
        return "done"
    waits = phase.state == "waiting" or (phase.state == "queued" and phase.why == _BEHIND)
    return "later" if waits or (phase.state == "unknown" and not phase.why) else "first"


def _head(now: CampaignStatus) -> list[RenderableType]:
    done = sum(phase.state == "done" for phase in now.phases)
    where = "on SLURM" if now.executor == "slurm" else "on this machine"
    state = "" if now.done or now.goes_on or now.awaits_planner else ", nothing runs"
    parts: list[RenderableType] = [
        Text.assemble((now.name, "bold"), f"  {done} of {len(now.phases)} phases done, {where}{state}"),
        Text(now.run, style="dim", no_wrap=True, overflow="ellipsis"),
    ]
    if now.alert:
        parts.append(Text(f"ALERT: {now.alert}", style="bold red", overflow="fold"))
    if now.fix:
        parts.append(Text(f"{_what_first(now)}{now.fix}", style="bold", overflow="fold"))
    for node, why in now.avoided.items():
        parts.append(Text(f"{node} is avoided until avoid/{node}.json is removed: {why}", "yellow", overflow="fold"))
    return [*parts, *(Text(note, style="yellow", overflow="fold") for note in now.notes)]


def _what_first(now: CampaignStatus) -> str:
    bad = now.alert or any(phase.state in _BAD for phase in now.phases)
    return "→ correct the cause, then: " if bad else "→ to continue: "


def _footer(text: str) -> Text:
    return Text(text, style="dim", no_wrap=True, overflow="ellipsis")


def _table(now: CampaignStatus, phases: Sequence[PhaseStatus], lines: int) -> Table:
    table = Table("phase", "state", "", box=None, pad_edge=False, show_header=False)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for phase in phases:
        told = told_of(phase, now)
        text = Text("\n".join(told[:lines]), no_wrap=lines == 1, overflow="ellipsis" if lines == 1 else "fold")
        table.add_row(_title(phase), Text(phase.state, style=_STYLES.get(phase.state, "")), text)
    return table


def _title(phase: PhaseStatus) -> str:
    return f"{phase.number:02d} {phase.name}"


def _together(word: str, phases: Sequence[PhaseStatus], how: str) -> Text:
    """`then: 05 label-2, 06 master-2`, or `then: 05 label-2 … 14 report (10)`."""
    names = [_title(phase).replace(" ", _NO_BREAK) for phase in phases]
    if how == "count" and len(names) > 2:
        names = [f"{names[0]} … {names[-1]} ({len(names)})"]
    return Text.assemble((f"{word}: ", _STYLES["done"] if word == "done" else "dim"), ", ".join(names))


def told_of(phase: PhaseStatus, now: CampaignStatus) -> list[str]:
    """Lines about a phase, most important first. What the campaign's alert says already is not said again."""
    lines = [] if phase.why and _says(now.alert, phase.why) else [phase.why]
    if phase.state == "done":
        lines.append("  ".join(filter(None, [phase.took, metrics_line(phase.metrics)])))
    elif phase.doing:
        lines.append(phase.doing)
    elif phase.progress:
        tally = dict(phase.progress)
        tally.pop("eta_s", None)
        if phase.metrics:
            tally["note"] = ""  # says the same
        lines.append(describe("", Tally(**tally)).strip())
    if phase.state not in ("done", "waiting") and phase.metrics:
        lines.append(metrics_line(phase.metrics))
    alert = phase.alert
    if alert and phase.state != "done" and not any(_says(said, alert["text"]) for said in (now.alert, phase.why)):
        lines.append(f"{alert['level']}{_at(alert)}: {alert['text']}")
    if phase.log and phase.state in _BAD:
        lines.append(f"log: {_short(phase.log, now.run)}")
    return [line for line in [*lines, *_jobs(phase.jobs)] if line]


def _says(said: str, text: str) -> bool:
    """Whether `said` holds the text, which may begin with the kind of error or be cut short."""
    plain = text.removeprefix("error: ").rstrip(".…")
    return bool(plain) and plain in said


def _short(path: str, run: str) -> str:
    return str(PurePath(path).relative_to(run)) if PurePath(path).is_relative_to(run) else path


def _at(event: dict[str, Any]) -> str:
    """When it happened, as it may be of an attempt before."""
    told = event.get("time")
    return (
        time.strftime(" at %H:%M:%S" if time.time() - told < _DAY_S else " on %d %b, %H:%M", time.localtime(told))
        if told
        else ""
    )


def metrics_line(metrics: dict[str, Any] | None) -> str:
    """`step 120  loss 0.531  mIoU 0.64  val 0.503 at 100`."""
    if not metrics:
        return ""
    parts = [f"step {metrics['step']:,}"] if "step" in metrics else []
    if metrics.get("loss") is not None:
        parts.append(f"loss {metrics['loss']:.3f}")
    if metrics.get("miou") is not None:
        parts.append(f"mIoU {metrics['miou']:.3f}")
    if metrics.get("val_miou") is not None:
        at = f" at {metrics['val_step']:,}" if metrics["val_step"] != metrics.get("step") else ""
        parts.append(f"val {metrics['val_miou']:.3f}{at}")
    return "  ".join(parts)


def _jobs(jobs: list[dict[str, Any]]) -> list[str]:
    """Jobs by state: `job 14 running on n[1-2]`, `12 jobs pending`."""
    shown = []
    for state in dict.fromkeys(job["state"] for job in jobs):
        members = [job for job in jobs if job["state"] == state]
        if state == "COMPLETED":
            continue
        if len(members) > _JOBS:
            shown.append(f"{len(members)} jobs {state.lower()} ({members[0]['id']} …)")
            continue
        for job in members:
            on = f" on {job['nodes']}" if job["nodes"] else ""
            shown.append(f"job {job['id']} {state.lower()}{on}")
    return [", ".join(shown)] if shown else []
