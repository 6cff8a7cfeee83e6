"""preflight: everything that can be known to go wrong, before anything queues."""

import argparse
import json
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from launch.campaign import enter_working_folder, load_where
from launch.preflight import Finding, Site, run_checks
from launch.resources.cluster_files import add_cluster_option
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, EXIT_USER_ERROR, UserError

_MARKS = {"ok": "[green]✓[/]", "warning": "[yellow]![/]", "bad": "[red]✗[/]", "skipped": "[dim]–[/]"}


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = commands.add_parser("preflight")
    parser.add_argument("where", type=Path, metavar="CONFIG", help="campaign file, or a run folder")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key.path=value", help="values that replace the file's"
    )
    parser.add_argument("--full", action="store_true", help="read and hash every shard that is there")
    parser.add_argument("--node-job", action="store_true", help="run a short job on each kind of node")
    parser.add_argument("--wait", type=float, default=600.0, metavar="S", help="for a node's job (default 600)")
    add_cluster_option(parser)
    parser.add_argument("--verbose", action="store_true", help="where SLURM refuses, also in its own words")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=preflight)


def preflight(arguments: argparse.Namespace) -> int:
    """One row a check. Exit status 0, or 2 when something is bad."""
    console = Console(stderr=True)
    with console.status("looking …", spinner="line"):
        findings = list(_findings(arguments))
    bad = [finding for finding in findings if finding.mark == "bad"]
    if arguments.json:
        rows = [vars(finding) for finding in findings]
        print(json.dumps({"ok": not bad, "checks": rows}, indent=1, ensure_ascii=False))
    else:
        _show(findings, arguments.verbose)
    return EXIT_USER_ERROR if bad else EXIT_DONE


def _findings(arguments: argparse.Namespace) -> list[Finding]:
    try:
        config = load_where(arguments.where, arguments.overrides, arguments.cluster)
        if arguments.where.is_dir():
            enter_working_folder(RunFolder(arguments.where))
    except UserError as error:
        return [Finding.of("config", error), Finding("the rest", "skipped", "nothing else can be checked without it")]
    return list(run_checks(Site(config, arguments.full, arguments.node_job, arguments.wait)))


def _show(findings: list[Finding], verbose: bool) -> None:
    table = Table("", "check", "seen", box=None, pad_edge=False, header_style="bold")
    table.columns[1].no_wrap = True
    for finding in findings:
        fix = f"\n[bold]→ {escape(finding.fix)}[/]" if finding.fix and finding.mark != "ok" else ""
        said = f"\nSLURM said: {escape(finding.said)}" if verbose and finding.said else ""
        table.add_row(_MARKS[finding.mark], escape(finding.name), f"{escape(finding.seen)}{said}{fix}")
    console = Console(highlight=False)
    console.print(table)
    count = {mark: sum(finding.mark == mark for finding in findings) for mark in _MARKS}
    verdict = "not ready" if count["bad"] else "ready"
    console.print(
        f"{verdict}: {count['ok']} ok, {count['warning']} warnings, {count['bad']} bad, {count['skipped']} skipped"
    )
