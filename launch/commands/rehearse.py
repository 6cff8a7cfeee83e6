"""rehearse: the real configuration on little data, through every transition. It measures rates that `plan` uses."""

import argparse
import shlex
import sys
import time
from pathlib import Path

from launch.campaign import check_inputs, enter_working_folder, load_where, prepare, uses_slurm
from launch.commands.campaign import say_where
from launch.commands.words import at_least_one
from launch.config import CampaignConfig
from launch.estimate import rates
from launch.graph import build_graph
from launch.preflight.site import Site
from launch.preflight.start import check_resources
from launch.rehearsal import STEPS, Interruption, rehearsal_of
from launch.resources.cluster_files import add_cluster_option
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED

_POLL_S = 5.0


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = commands.add_parser("rehearse")
    parser.add_argument("where", type=Path, metavar="CONFIG", help="campaign file, or a run folder")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key.path=value", help="values that replace the file's"
    )
    about = f"of each training (default {STEPS})"
    parser.add_argument("--steps", type=at_least_one("--steps"), default=STEPS, metavar="N", help=about)
    add_cluster_option(parser)
    parser.add_argument("--verbose", action="store_true", help="where SLURM refuses, also in its own words")
    parser.set_defaults(run=rehearse)


def rehearse(arguments: argparse.Namespace) -> int:
    """Run it in NAME-rehearsal and wait for its end. Returns the exit status."""
    real = load_where(arguments.where, arguments.overrides, arguments.cluster)
    if arguments.where.is_dir():
        enter_working_folder(RunFolder(arguments.where))
    check_inputs(real)
    config = rehearsal_of(real, arguments.steps)
    slurm = uses_slurm(config)
    check_resources(Site(config), arguments.verbose)
    say_where(config)
    campaign = prepare(config, accept=True, accept_code=RunFolder.of(config).exists())
    interruption = Interruption(config, campaign.run, slurm)
    interruption.start()
    try:
        status = _on_slurm(campaign.run, config) if slurm else _here(campaign.run)
    finally:
        interruption.end()
    if status != EXIT_DONE:
        return status
    rates.keep(campaign.run, rates.measured(config, build_graph(config), campaign.run))
    return _conclude(arguments.where, campaign.run, interruption)


def _here(run: RunFolder) -> int:
    from launch.local.console import Console
    from launch.local.run import run_locally

    console = Console()
    try:
        return run_locally(run, console)
    finally:
        console.close()


def _on_slurm(run: RunFolder, config: CampaignConfig) -> int:
    """Submit, then watch until all is done or a person is asked."""
    from launch.completion import survey
    from launch.slurm.plan import plan_on_slurm
    from launch.status import campaign_status

    run.forget_alert()
    plan_on_slurm(run, survey(config, build_graph(config), run), by="person")
    shown = ""
    try:
        while True:
            now = campaign_status(run, config)
            line = "  ".join(f"{phase.name} {phase.state}" for phase in now.phases if phase.state != "waiting")
            if line != shown:
                print(line, flush=True)
                shown = line
            if now.done:
                return EXIT_DONE
            if now.alert:
                print(f"mlseg: error: {now.alert}; see: mlseg status {shlex.quote(str(run.path))}", file=sys.stderr)
                return EXIT_FAILED
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        print(f"the rehearsal goes on; end it with: mlseg cancel {shlex.quote(str(run.path))}", file=sys.stderr)
        return EXIT_INTERRUPTED


def _conclude(where: Path, run: RunFolder, interruption: Interruption) -> int:
    phases = len(list((run.path / "phases").glob("*/done.json")))
    print(f"rehearsed: {phases} phases done in {run.path}")
    file = shlex.quote(str(run.path / rates.FILE))
    print(f"What the campaign will take: mlseg plan {shlex.quote(str(where))} --rates {file}")
    if interruption.came_through:
        print(f"{interruption.phase.name} was interrupted once and went on")
        return EXIT_DONE
    print(f"mlseg: {interruption.phase.name} was not interrupted: it ended before the signal came", file=sys.stderr)
    return EXIT_FAILED
