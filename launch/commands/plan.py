"""plan: the graph with each phase's state, resources and, from measured rates, what it will take."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from launch.campaign import check_cut_corpus, enter_working_folder, load_where
from launch.checks import check_class_maps, check_ranks
from launch.completion import Completion, survey
from launch.config import CampaignConfig
from launch.estimate import rates
from launch.estimate.amounts import measure
from launch.estimate.costs import Cost, add_up, cost_of
from launch.graph import build_graph
from launch.graph_picture import check_picture
from launch.growth import growth
from launch.phases import block_of, job_of
from launch.plan_table import rows_of, table_of, wall
from launch.resources.cluster_files import add_cluster_option
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, EXIT_USER_ERROR, UserError


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = commands.add_parser("plan")
    parser.add_argument("where", type=Path, metavar="CONFIG", help="campaign file, or a run folder")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key.path=value", help="values that replace the file's"
    )
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--rates", type=Path, action="append", default=[], metavar="FILE", help="rates.json of another run; repeatable"
    )
    parser.add_argument("--graph", type=Path, metavar="FILE", help="draw the phases as .svg, .png or .pdf")
    add_cluster_option(parser)
    parser.set_defaults(run=plan)


def plan(arguments: argparse.Namespace) -> int:
    """Show the table or JSON, and draw the picture."""
    config = load_where(arguments.where, arguments.overrides, arguments.cluster)
    if arguments.graph is not None:
        check_picture(arguments.graph)
    if arguments.where.is_dir():
        enter_working_folder(RunFolder(arguments.where))
    check_ranks(config)
    run, graph = RunFolder.of(config), build_graph(config)
    grown = growth(config, run) if run.exists() else None
    completions = survey(config, graph, run, grown)
    check_class_maps(config)
    warnings = check_cut_corpus(config, run, completions, or_begun=True)
    if grown is not None:
        warnings.append(
            "`mlseg run` goes on with the shards that the campaign has; with --accept it does what is shown here"
        )
    known, problem = _known_rates(config, run, arguments.rates), ""
    costs: list[Cost | None]
    try:
        amounts = measure(config, graph, run)
        costs = [cost_of(config, phase, amounts, known) for phase in graph]
        exact = amounts.counted
    except UserError as error:  # no slides yet: the graph can be shown all the same
        costs, exact, problem = [None] * len(graph), False, str(error)
    left = [cost for completion, cost in zip(completions, costs, strict=True) if cost and completion.state != "done"]
    if arguments.json:
        phases = [_row(config, completion, cost) for completion, cost in zip(completions, costs, strict=True)]
        seconds, hours, written = add_up(left)
        totals = (
            None if problem else {"wall_s": seconds, "gpu_hours": hours, "bytes": written, "pairs_are_counted": exact}
        )
        content = {
            "run": str(run.path),
            "name": config.name,
            "phases": phases,
            "left": totals,
            "problem": problem,
            "warnings": warnings,
        }
        print(json.dumps(content, indent=1))
    else:
        _show(config, run, completions, costs, left, exact, problem)
        for warning in warnings:
            print(f"mlseg: warning: {warning}", file=sys.stderr)
    if arguments.graph is not None:
        _draw(arguments.graph, config, run, completions, costs)
        if not arguments.json:
            print(arguments.graph)
    if problem:
        print(f"mlseg: error: what it will take is unknown: {problem}", file=sys.stderr)
    return EXIT_USER_ERROR if problem else EXIT_DONE


def _known_rates(config: CampaignConfig, run: RunFolder, files: Sequence[Path]) -> list[rates.Rate]:
    """All rates, the least specific first: other runs', those that this run kept, those of its phases now."""
    own = run.path / rates.FILE
    known = [rate for path in [*files, *([own] if own.exists() else [])] for rate in rates.read(path)]
    return known + rates.measured(config, build_graph(config), run)


def _row(config: CampaignConfig, completion: Completion, cost: Cost | None) -> dict[str, Any]:
    phase = completion.phase
    return {
        "number": phase.number,
        "name": phase.name,
        "kind": phase.kind,
        "inputs": list(phase.inputs),
        "state": completion.state,
        "why": completion.why,
        "block": block_of(config, phase),
        "resources": job_of(config, phase).model_dump(mode="json"),
        "expected": asdict(cost) if cost else None,
    }


def _show(
    config: CampaignConfig,
    run: RunFolder,
    completions: Sequence[Completion],
    costs: Sequence[Cost | None],
    left: list[Cost],
    exact: bool,
    problem: str,
) -> None:
    console = Console(highlight=False)
    table, missed = table_of(rows_of(config, completions, costs), left, console)
    console.print(escape(str(run.path)), soft_wrap=True)
    console.print(table)
    for completion in completions:
        if completion.why:
            console.print(escape(f"{completion.phase.name} is {completion.state}: {completion.why}"), soft_wrap=True)
    if missed:
        console.print(f"no room for: {', '.join(missed)}; a wider terminal or --json shows more")
    if problem:
        return
    if not exact:
        console.print("work and bytes: at most; they are counted once the shards are cut")
    if any(cost.wall_s is None for cost in left):
        console.print("?: no rate measured yet; mlseg rehearse measures, --rates FILE takes those of another run")
    if left:
        console.print(
            "wall: phases after each other, without the time in the queue; speed grows with ranks and workers"
        )


def _draw(
    out: Path, config: CampaignConfig, run: RunFolder, completions: Sequence[Completion], costs: Sequence[Cost | None]
) -> None:
    from launch.graph_picture import PhaseBox, draw
    from launch.status import campaign_status

    states = {completion.phase.name: str(completion.state) for completion in completions}
    if run.exists():
        states |= {phase.name: phase.state for phase in campaign_status(run, config).phases}
    nodes = []
    for completion, cost in zip(completions, costs, strict=True):
        below = wall(cost) if cost and cost.wall_s is not None else ""
        nodes.append(PhaseBox(completion.phase, states[completion.phase.name], below))
    draw(nodes, f"{config.name}: {sum(state == 'done' for state in states.values())} of {len(nodes)} phases done", out)
