"""demo, run, resume, retry, cancel: whole campaigns."""

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from launch.alerts import ask_for_person
from launch.campaign import check_inputs, check_retry, enter_working_folder, load_where, prepare, uses_slurm
from launch.completion import Completion, survey
from launch.config import CampaignConfig
from launch.endings import FAILURES
from launch.graph import build_graph
from launch.guard import check_local
from launch.local.liveness import planner_pid
from launch.planner import checks_passed, verdict
from launch.preflight.site import Site
from launch.preflight.start import check_resources
from launch.resources.cluster_files import add_cluster_option
from launch.run_folder import RunFolder, find_run
from launch.slurm.as_job import start_as_job
from launch.slurm.job_plans import read_plans
from launch.slurm.queue import has_slurm
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, EXIT_USER_ERROR, UserError

DEMO = Path("configs/demo.yaml")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    for name, default in (("demo", DEMO), ("run", None), ("resume", None)):
        parser = commands.add_parser(name)
        _config_argument(parser, default)
        parser.add_argument("--accept", action="store_true", help="do phases again that an edit made invalid")
        parser.add_argument(
            "--accept-code", action="store_true", help="go on with the installed code, not the frozen one"
        )
        add_cluster_option(parser)
        parser.add_argument(
            "--as-job", action="store_true", help="start it from a job of its own, with the resources of cluster.small"
        )
        parser.add_argument("--verbose", action="store_true", help="where SLURM refuses, also in its own words")
        parser.set_defaults(run=run)
    parser = commands.add_parser("retry")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("phase", metavar="PHASE", help="its name, as `mlseg status` shows it")
    parser.set_defaults(run=retry)
    parser = commands.add_parser("cancel")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.set_defaults(run=cancel)


def _config_argument(parser: argparse.ArgumentParser, default: Path | None) -> None:
    if default is None:
        parser.add_argument("where", type=Path, metavar="CONFIG", help="campaign file, or a run folder")
    else:
        parser.set_defaults(where=default)
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key.path=value", help="values that replace the file's"
    )


def run(arguments: argparse.Namespace) -> int:
    """Start or continue. Returns the exit status."""
    config = load_where(arguments.where, arguments.overrides, arguments.cluster)
    if arguments.where.is_dir():
        enter_working_folder(RunFolder(arguments.where))
    slurm = uses_slurm(config)
    if slurm and config.cluster.replan == "login" and "SLURM_JOB_ID" in os.environ:
        raise UserError("it is `login`, but this is a job", "cluster.replan", "On the login node: bash slurm/master.sh")
    if arguments.as_job:
        return _start_as_job(config, arguments, slurm)
    check_inputs(config)
    check_resources(Site(config), arguments.verbose)
    say_where(config)
    campaign = prepare(config, arguments.accept, arguments.accept_code)
    for warning in campaign.warnings:
        print(f"mlseg: warning: {warning}", file=sys.stderr)
    if campaign.is_done:
        print(f"{campaign.run.path}: all {len(campaign.completions)} phases are done")
        return _conclude(campaign.run)
    if slurm:
        return _run_on_slurm(campaign.run, campaign.completions)
    return _run_here(campaign.run)


def _start_as_job(config: CampaignConfig, arguments: argparse.Namespace, slurm: bool) -> int:
    if not slurm:
        raise UserError("the campaign runs on this machine, without SLURM", "--as-job", "Leave it out.")
    if config.cluster.replan == "login":
        raise UserError("cluster.replan is `login`: whoever starts it stays", "--as-job", "Leave it out.")
    check_resources(Site(config), arguments.verbose)
    options = ["--cluster", arguments.cluster] if arguments.cluster is not None else []
    options += [f"--{name.replace('_', '-')}" for name in ("accept", "accept_code") if getattr(arguments, name)]
    job = start_as_job(config.cluster.job("small"), [str(arguments.where), *options, *arguments.overrides])
    print(f"submitted the start: {job}; its log: mlseg-master-{job}.log")
    return EXIT_DONE


def say_where(config: CampaignConfig) -> None:
    """Show what the config's paths have become: a campaign is the same wherever it is started."""
    print(f"run folder: {config.folder.absolute()}")
    if config.slides is not None:
        print(f"slides: {config.slides.absolute()}")
    if config.tiles is not None:
        print(f"tiles: {config.tiles.folder.absolute()}")
    sys.stdout.flush()


def _run_here(run: RunFolder) -> int:
    from launch.local.console import Console
    from launch.local.run import run_locally

    console = Console()
    try:
        exit_status = run_locally(run, console)
    finally:
        console.close()
    if exit_status in (EXIT_FAILED, EXIT_USER_ERROR):
        tell_of_failure(run)
    return exit_status if exit_status != EXIT_DONE else _conclude(run)


def tell_of_failure(run: RunFolder) -> None:
    """By mail and webhook: which phase stopped a campaign that runs here, and why."""
    config = run.config()
    for phase in build_graph(config):
        said = verdict(run, phase, [])
        if said.get("status") in FAILURES:
            ask_for_person(run, config, f"phase {phase.name}: {said.get('error', '')}", time.time())
            return


def retry(arguments: argparse.Namespace) -> int:
    """Try a failed phase again, with a new retry budget. On this machine that is `run` from there on."""
    run_folder = find_run(arguments.where)
    enter_working_folder(run_folder)
    config = run_folder.config()
    if not check_retry(config, run_folder, arguments.phase):
        print(f"phase {arguments.phase} is done already")
        return EXIT_DONE
    if uses_slurm(config):
        return _run_on_slurm(run_folder, survey(config, build_graph(config), run_folder))
    run_folder.forget_alert()
    return _run_here(run_folder)


def _run_on_slurm(run: RunFolder, completions: Sequence[Completion]) -> int:
    """Submit what is missing and show it. Where jobs may not submit jobs, stay and plan again when something fails."""
    from launch.slurm.plan import plan_on_slurm

    outcome = plan_on_slurm(run, completions, by="person")
    run.forget_alert()
    print(outcome, flush=True)
    print(f"Follow it: mlseg status {shlex.quote(str(run.path))} --watch", flush=True)
    if run.config().cluster.replan == "job":
        return EXIT_DONE
    from launch.slurm.replan import attend

    exit_status = attend(run)
    return exit_status if exit_status != EXIT_DONE else _conclude(run)


def _conclude(run: RunFolder) -> int:
    """Show the final table and the report's path; the checks decide the exit status."""
    if (run.report / "metrics.json").exists():
        from mlseg_dist.report.table import print_table

        print_table(run.path)
    elif (run.report / "index.html").exists():
        print(f"report: {run.report / 'index.html'}")
    if not checks_passed(run):
        where = run.report / "checks.json"
        print(f"mlseg: the campaign ran, but its checks did not pass: {where}", file=sys.stderr)
        return EXIT_FAILED
    return EXIT_DONE


def cancel(arguments: argparse.Namespace) -> int:
    """End the campaign's jobs here and on SLURM."""
    run = find_run(arguments.where)
    check_local(run)
    pid = planner_pid(run.path)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
        print(f"asked process {pid} to stop at the next safe point")
        return EXIT_DONE
    plans = read_plans(run)
    if plans and plans[-1].by != "cancel" and not has_slurm():
        raise UserError(
            "its jobs are on SLURM, which this machine does not have", run.path, "Cancel it where SLURM is."
        )
    if not plans or not has_slurm():
        raise UserError("nothing is running", run.path, f"See: mlseg status {run.path}")
    from launch.slurm.plan import cancel_on_slurm

    ids = cancel_on_slurm(run)
    print(f"cancelled {len(ids)} jobs" + (f": {', '.join(ids)}" if ids else ""))
    return EXIT_DONE
