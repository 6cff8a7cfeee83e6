"""status: where a campaign stands, once, or redrawn in place until it is done."""

import argparse
import contextlib
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from launch.campaign import enter_working_folder
from launch.run_folder import RunFolder, find_run
from launch.status import CampaignStatus, PhaseStatus, campaign_status
from mlseg_core.errors import EXIT_DONE
from mlseg_core.progress import Tally, clock, describe

_WATCH_S = 5.0
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
_JOBS = 3
_DAY_S = 20 * 3600.0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = commands.add_parser("status")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--watch", action="store_true", help="keep it up to date until the campaign is done")
    parser.add_argument("--every", type=float, default=_WATCH_S, metavar="S", help=f"seconds (default {_WATCH_S:.0f})")
    parser.set_defaults(run=status)


def status(arguments: argparse.Namespace) -> int:
    """Show where the campaign stands."""
    run = find_run(arguments.where)
    console = Console(highlight=False)
    if arguments.watch and console.is_terminal and not arguments.json:
        return _watch(run, console, arguments.every)
    while True:
        now = _look(run)
        if arguments.json:
            print(json.dumps(now.as_json(), indent=1), flush=True)
        else:
            console.print(page(now))
        if not arguments.watch or now.done:
            return EXIT_DONE
        time.sleep(arguments.every)


def _watch(run: RunFolder, console: Console, every_s: float) -> int:
    """Redrawn in place; on a terminal too low for it the end is cut off. The last state stays on the screen."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live,
    ):
        while True:
            now = _look(run)
            live.update(Group(page(now), _footer(now, every_s)), refresh=True)
            if now.done:
                break
            time.sleep(every_s)
    return EXIT_DONE


def _look(run: RunFolder) -> CampaignStatus:
    enter_working_folder(run)
    return campaign_status(run, run.config())


def _footer(now: CampaignStatus, every_s: float) -> Text:
    if now.done:
        return Text("")
    return Text(f"{time.strftime('%H:%M:%S')}, every {every_s:g} s; Ctrl-C ends this view only", style="dim")


def page(now: CampaignStatus) -> RenderableType:
    """All that a person sees: the head, a row a phase, then logs and alerts."""
    done = sum(phase.state == "done" for phase in now.phases)
    head = Text.assemble((now.name, "bold"), f"  {done} of {len(now.phases)} phases done, {_where(now)}")
    table = Table("phase", "state", "", box=None, pad_edge=False, show_header=False)
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for phase in now.phases:
        style = _STYLES.get(phase.state, "")
        table.add_row(f"{phase.number:02d} {phase.name}", Text(phase.state, style=style), Text("\n".join(_told(phase))))
    parts: list[RenderableType] = [head, Text(now.run, style="dim", overflow="fold"), table]
    parts += [
        Text(f"{phase.name}: log: {phase.log}", overflow="fold") for phase in now.phases if phase.log and _is_bad(phase)
    ]
    parts += [
        Text(f"{node} is avoided until avoid/{node}.json is removed: {why}", style="yellow", overflow="fold")
        for node, why in now.avoided.items()
    ]
    parts += [Text(note, style="yellow", overflow="fold") for note in now.notes]
    if now.alert:
        parts.append(Text(f"ALERT: {now.alert}", style="bold red"))
    return Group(*parts)


def _where(now: CampaignStatus) -> str:
    return "on SLURM" if now.executor == "slurm" else "on this machine"


def _is_bad(phase: PhaseStatus) -> bool:
    return phase.state in ("failed", "lost")


def _told(phase: PhaseStatus) -> list[str]:
    """Lines about a phase, most important first."""
    lines = [phase.why] if phase.why else []
    if phase.state == "done":
        figures = metrics_line(phase.metrics)
        took = f"in {clock(phase.seconds)}" if phase.seconds is not None else ""
        lines.append("  ".join(filter(None, [took, figures])))
    elif phase.progress:
        tally = dict(phase.progress)
        tally.pop("eta_s", None)
        if phase.metrics:
            tally["note"] = ""  # says the same
        lines.append(describe("", Tally(**tally)).strip())
    if phase.state not in ("done", "waiting") and phase.metrics:
        lines.append(metrics_line(phase.metrics))
    lines += _jobs(phase.jobs)
    if phase.alert and phase.state != "done":
        lines.append(f"{phase.alert['level']}{_at(phase.alert)}: {phase.alert['text']}")
    return [line for line in lines if line]


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
