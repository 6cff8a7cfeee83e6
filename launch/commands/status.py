"""status: where a campaign stands, once, or redrawn in place until it has ended."""

import argparse
import contextlib
import json
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.live import Live

from launch import alerts
from launch.campaign import enter_working_folder
from launch.commands.words import seconds
from launch.guard import check_rights
from launch.planner import checks_passed
from launch.run_folder import RunFolder, find_run
from launch.slurm.replan import EVERY_S
from launch.status import CampaignStatus, campaign_status
from launch.status_page import page
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, UserError

_WATCH_S = 5.0
_SETTLED_S = 8.0
"""A campaign whose jobs have all ended is looked at once more after so long: one of them may just have submitted others."""
_PLANNER_S = 2.5 * EVERY_S
"""The same where a planner on a login node may come, which looks every EVERY_S."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = commands.add_parser("status")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("--json", action="store_true")
    about = "keep it up to date until the campaign ends: 0 when it is done, 1 when not, or when its checks do not pass"
    parser.add_argument("--watch", action="store_true", help=about)
    parser.add_argument(
        "--every", type=seconds("--every"), default=_WATCH_S, metavar="S", help=f"seconds (default {_WATCH_S:.0f})"
    )
    about = (
        "with --watch: also send alerts that the jobs could not send (cluster.alerts), as compute nodes reach no server"
    )
    parser.add_argument("--send-alerts", action="store_true", help=about)
    parser.set_defaults(run=status)


def status(arguments: argparse.Namespace) -> int:
    """Show where the campaign stands. Returns 0; with --watch the exit status of the campaign."""
    run = find_run(arguments.where)
    console = Console(highlight=False)
    if arguments.send_alerts and not arguments.watch:
        raise UserError("alerts are sent while a campaign is watched", "--send-alerts", "Add --watch.")
    if arguments.watch:
        sending = _sending(run) if arguments.send_alerts else None
        try:
            if console.is_terminal and not arguments.json:
                return _watch(run, console, arguments.every)
            return _follow(run, console, arguments.every, arguments.json)
        finally:
            if sending is not None:
                sending.close()
    _print(_look(run), console, arguments.json)
    return EXIT_DONE


def _sending(run: RunFolder) -> alerts.Watching:
    """Raises UserError where nobody is to be told, or this user may not write down what was sent."""
    config = run.config()
    if not config.cluster.alerts.asked:
        raise UserError(
            "no alerts are asked for", "cluster.alerts", "Name a mail address or a webhook (docs/status.md)."
        )
    check_rights(run)
    return alerts.watch(run, config)


def _print(now: CampaignStatus, console: Console, as_json: bool) -> None:
    if as_json:
        print(json.dumps(now.as_json(), indent=1), flush=True)
    else:
        console.print(page(now, console, console.height - 1 if console.is_terminal else None))


def _look(run: RunFolder) -> CampaignStatus:
    enter_working_folder(run)
    return campaign_status(run, run.config())


class _End:
    """Whether the campaign has ended: done, or nothing goes on, for so long that nobody is about to plan again."""

    def __init__(self) -> None:
        self._quiet_since: float | None = None

    def of(self, now: CampaignStatus, run: RunFolder) -> int | None:
        """The campaign's exit status; None while it goes on."""
        if now.done:
            return EXIT_DONE if checks_passed(run) else EXIT_FAILED
        if now.goes_on:
            self._quiet_since = None
            return None
        if self._quiet_since is None:
            self._quiet_since = time.monotonic()
        patience = _PLANNER_S if now.awaits_planner and not now.alert else _SETTLED_S
        return EXIT_FAILED if time.monotonic() - self._quiet_since >= patience else None


def _follow(run: RunFolder, console: Console, every_s: float, as_json: bool) -> int:
    """One page or JSON document after the other."""
    end = _End()
    while True:
        now = _look(run)
        _print(now, console, as_json)
        if (exit_status := end.of(now, run)) is not None:
            return exit_status
        time.sleep(every_s)


def _watch(run: RunFolder, console: Console, every_s: float) -> int:
    """Redrawn in place, in as many lines as the terminal has. The last state stays on the screen."""
    end, now, trouble = _End(), _look(run), ""
    exit_status = end.of(now, run)
    with (
        contextlib.suppress(KeyboardInterrupt),
        Live(console=console, auto_refresh=False, vertical_overflow="crop") as live,
    ):
        while exit_status is None:
            at = f"{time.strftime('%H:%M:%S')}, every {every_s:g} s; Ctrl-C ends this view only"
            live.update(page(now, console, console.height - 1, trouble or at), refresh=True)
            time.sleep(every_s)
            try:
                now, trouble = _look(run), ""
            except OSError as error:  # a network file system that hiccups
                trouble = f"{time.strftime('%H:%M:%S')}: the run folder cannot be read ({error}); trying again"
            else:
                exit_status = end.of(now, run)
        live.update(page(now, console, console.height - 1), refresh=True)
    if exit_status is None:
        return EXIT_INTERRUPTED
    if now.done and exit_status != EXIT_DONE:
        print(f"mlseg: the campaign ran, but its checks did not pass: {run.report / 'checks.json'}", file=sys.stderr)
    return exit_status
