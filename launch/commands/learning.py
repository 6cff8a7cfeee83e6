"""report: what a person asks of a campaign that is finished or half done."""

import argparse
from pathlib import Path

from launch.campaign import load_where
from launch.config import CampaignConfig
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = run_command(commands, "report")
    parser.add_argument(
        "--single-file", action="store_true", help="one page that contains its pictures, report/report.html, to pass on"
    )
    parser.set_defaults(run=report)


def run_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str) -> argparse.ArgumentParser:
    """A subcommand that takes a run."""
    parser = commands.add_parser(name)
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    return parser


def load_run(arguments: argparse.Namespace) -> tuple[CampaignConfig, RunFolder]:
    """The run that a person named. Raises UserError."""
    config = load_where(arguments.where, [])
    run = RunFolder.of(config)
    if not run.exists():
        raise UserError("no run folder yet", run.path, "Start the campaign first: mlseg run CONFIG.")
    return config, run


def report(arguments: argparse.Namespace) -> int:
    """report"""
    config, run = load_run(arguments)
    from mlseg_dist import report as pages
    from mlseg_dist.report.table import print_table

    phases = sorted((run.path / "phases").glob("[0-9][0-9]-report"))
    phase = phases[0] if phases else run.path / "phases" / "report"
    page = pages.write(config, run.path, phase, single_file=arguments.single_file)
    print_table(run.path, page=page.name)
    return EXIT_DONE
