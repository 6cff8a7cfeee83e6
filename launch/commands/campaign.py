"""demo, plan, run, resume, status, cancel: whole campaigns."""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.table import Table

from launch.campaign import Campaign, check_inputs, enter_working_folder, load_where, prepare, uses_slurm
from launch.completion import survey
from launch.config import CampaignConfig
from launch.graph import build_graph
from launch.kinds import kind_of
from launch.liveness import planner_pid
from launch.plans import read_plans
from launch.run_folder import RunFolder, find_run
from launch.status import CampaignStatus, campaign_status
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.files import read_json
from mlseg_core.progress import Tally, describe

DEMO = Path("configs/demo.yaml")
_WATCH_S = 5.0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    for name, help_text, default in (
        ("demo", "a small campaign on synthetic slides, in minutes on two cores", DEMO),
        ("run", "start or continue a campaign: on SLURM where sbatch is, else on this machine", None),
        ("resume", "continue a campaign from its run folder", None),
    ):
        parser = commands.add_parser(name, help=help_text)
        _config_argument(parser, default)
        parser.add_argument("--accept", action="store_true", help="do phases again that an edit made invalid")
        parser.add_argument(
            "--accept-code", action="store_true", help="go on with the installed code, not the frozen one"
        )
        parser.set_defaults(run=run)
    parser = commands.add_parser("plan", help="show the phases and what `run` would do; changes nothing")
    _config_argument(parser, None)
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=plan)
    parser = commands.add_parser("status", help="where a campaign stands")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--watch", action="store_true", help=f"show it again every {_WATCH_S:.0f} s")
    parser.set_defaults(run=status)
    parser = commands.add_parser("cancel", help="end a campaign's jobs; `run` continues it later")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.set_defaults(run=cancel)


def _config_argument(parser: argparse.ArgumentParser, default: Path | None) -> None:
    if default is None:
        parser.add_argument("where", type=Path, metavar="CONFIG", help="campaign file, or a run folder")
    else:
        parser.set_defaults(where=default)
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values that replace the file's")


def run(arguments: argparse.Namespace) -> int:
    """Start or continue. Returns the exit status."""
    config = load_where(arguments.where, arguments.overrides)
    if arguments.where.is_dir():
        enter_working_folder(RunFolder(arguments.where))
    slurm = uses_slurm(config)
    check_inputs(config)
    campaign = prepare(config, arguments.accept, arguments.accept_code)
    for warning in campaign.warnings:
        print(f"mlseg: warning: {warning}", file=sys.stderr)
    if campaign.is_done:
        print(f"{campaign.run.path}: all {len(campaign.standings)} phases are done")
        return _conclude(campaign.run)
    if slurm:
        return _run_on_slurm(campaign)
    from launch.console import Console
    from launch.local import run_locally

    console = Console()
    try:
        exit_status = run_locally(campaign.run, console)
    finally:
        console.close()
    if exit_status != EXIT_DONE:
        return exit_status
    return _conclude(campaign.run)


def _run_on_slurm(campaign: Campaign) -> int:
    from launch.planner import plan_on_slurm

    outcome = plan_on_slurm(campaign.run, campaign.standings, by="person")
    (campaign.run.path / "alert.json").unlink(missing_ok=True)
    if outcome.plan is None:
        print(outcome.refused or "nothing to submit: every phase is done or on its way")
    else:
        for phase, jobs in outcome.plan.jobs.items():
            print(f"submitted {phase}: {', '.join(f'{part} {job}' for part, job in jobs.items())}")
    print(f"Follow it: mlseg status {campaign.run.path} --watch")
    return EXIT_DONE


def _conclude(run: RunFolder) -> int:
    """Show the final table and the report's path; the checks decide the exit status."""
    if (run.report / "metrics.json").exists():
        from mlseg_dist.report.table import print_table

        print_table(run.path)
    elif (run.report / "index.html").exists():
        print(f"report: {run.report / 'index.html'}")
    checks = run.report / "checks.json"
    if checks.exists() and not read_json(checks)["passed"]:
        print(f"mlseg: the campaign ran, but its checks did not pass: {checks}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE


def plan(arguments: argparse.Namespace) -> int:
    """The graph with each phase's standing and resources."""
    config = load_where(arguments.where, arguments.overrides)
    run = RunFolder.of(config)
    rows = [
        {
            "number": standing.phase.number,
            "name": standing.phase.name,
            "kind": standing.phase.kind,
            "inputs": list(standing.phase.inputs),
            "state": standing.state,
            "why": standing.why,
            "resources": getattr(config.cluster, kind_of(standing.phase).job).model_dump(mode="json"),
        }
        for standing in survey(config, build_graph(config), run)
    ]
    if arguments.json:
        print(json.dumps({"run": str(run.path), "name": config.name, "phases": rows}, indent=1))
        return EXIT_DONE
    table = Table("phase", "kind", "after", "state", "job", title=escape(str(run.path)))
    for row in rows:
        job = row["resources"]
        size = (
            f"{job['workers']} workers"
            if kind_of_row(row) == "map"
            else f"{job['nodes']} × {job['tasks_per_node']} tasks"
        )
        state = f"{row['state']}: {row['why']}" if row["why"] else row["state"]
        table.add_row(f"{row['number']:02d} {row['name']}", row["kind"], ", ".join(row["inputs"]), state, size)
    RichConsole().print(table)
    return EXIT_DONE


def kind_of_row(row: dict) -> str:
    from launch.kinds import KINDS

    return KINDS[row["kind"]].job


def status(arguments: argparse.Namespace) -> int:
    """Show where the campaign stands, once or again and again until it is done."""
    run = find_run(arguments.where)
    while True:
        now = campaign_status(run, _config_of(run))
        if arguments.json:
            print(json.dumps(now.as_json(), indent=1), flush=True)
        else:
            _show(now)
        if not arguments.watch or now.done:
            return EXIT_DONE
        time.sleep(_WATCH_S)


def _config_of(run: RunFolder) -> CampaignConfig:
    enter_working_folder(run)
    return run.config()


def _show(now: CampaignStatus) -> None:
    table = Table("phase", "state", "progress", "jobs", title=escape(now.run))
    for phase in now.phases:
        tally = dict(phase.progress or {})
        tally.pop("eta_s", None)
        progress = describe("", Tally(**tally)).strip() if tally else ""
        jobs = ", ".join(sorted({f"{job['id']} {job['state']} {job['nodes']}".strip() for job in phase.jobs})[:4])
        state = f"{phase.state}: {phase.why}" if phase.why else phase.state
        table.add_row(f"{phase.number:02d} {phase.name}", escape(state), escape(progress), escape(jobs))
    console = RichConsole()
    console.print(table)
    for phase in now.phases:
        if phase.state in ("failed", "lost"):
            console.print(escape(f"{phase.name} {phase.state}: {phase.why}\n  log: {phase.log}"), soft_wrap=True)
    if now.alert:
        console.print(escape(f"ALERT: {now.alert}"), style="bold red")


def cancel(arguments: argparse.Namespace) -> int:
    """End the campaign's jobs here and on SLURM."""
    run = find_run(arguments.where)
    pid = planner_pid(run.path)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        print(f"asked process {pid} to stop at the next safe point")
        return EXIT_DONE
    if not read_plans(run) or not uses_slurm(run.config()):
        raise UserError("nothing is running", run.path, f"See: mlseg status {run.path}")
    from launch.planner import cancel_on_slurm

    ids = cancel_on_slurm(run)
    print(f"cancelled {len(ids)} jobs" + (f": {', '.join(ids)}" if ids else ""))
    return EXIT_DONE
