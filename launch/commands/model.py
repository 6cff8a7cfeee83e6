"""model: what the networks of a campaign cost, before anything is trained."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from launch.campaign import load_where
from launch.commands.learning import step_index
from launch.config import CampaignConfig
from mlseg_core.errors import EXIT_DONE
from mlseg_dist.config import StepConfig

if TYPE_CHECKING:
    from mlseg_dist.model.summary import Summary


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = commands.add_parser("model", help="parameters, multiply-adds, memory and time of a step's network")
    parser.add_argument("where", type=Path, metavar="CONFIG", help="campaign config, or a run folder")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides of the config")
    parser.add_argument("--step", metavar="NAME", help="whose network; default: the last step's")
    parser.add_argument("--no-time", action="store_true", help="count only; takes no memory and no time")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=model)


def model(arguments: argparse.Namespace) -> int:
    """model"""
    config = load_where(arguments.where, arguments.overrides)
    step = config.steps[step_index(config, arguments.step or config.steps[-1].name)]
    from mlseg_dist.device import device_for
    from mlseg_dist.model import build_model
    from mlseg_dist.model.summary import summarise

    summary = summarise(
        lambda: build_model(step.model, config.shards.ratio),
        config.train.patch_px,
        config.train.precision == "bf16",
        None if arguments.no_time else device_for(),
    )
    if arguments.json:
        print(json.dumps({"step": step.name, "kind": step.model.kind} | summary.json(), indent=1))
    else:
        _print(config, step, summary)
    return EXIT_DONE


def _print(config: CampaignConfig, step: StepConfig, summary: "Summary") -> None:
    from rich.console import Console
    from rich.table import Table

    encoder = step.model.encoder.name.upper()
    table = Table(
        title=f"{step.name}: {step.model.kind}, encoder {encoder}, one pair of {summary.side} px", title_justify="left"
    )
    table.add_column("part")
    for column in ("parameters", "GMAC", "activations MB", "forward ms"):
        table.add_column(column, justify="right")
    for part in summary.parts:
        table.add_row(part.name.replace("_", " "), *_cells(part.parameters, part.gmac, part.activation_bytes, part.ms))
    table.add_section()
    totals = (summary.total(what) for what in ("parameters", "gmac", "activation_bytes", "ms"))
    table.add_row("all", *_cells(*totals))
    console = Console(highlight=False)
    console.print(table)
    console.print(f"{summary.dtype}; timed on {summary.device}" if summary.device != "not timed" else summary.dtype)
    others = [s.name for s in config.steps if s.model != step.model]
    if others:
        console.print(f"Another network: --step {', '.join(others)}")


def _cells(parameters: int, gmac: float, activation_bytes: int, ms: float | None) -> list[str]:
    time = "–" if ms is None else f"{ms:.1f}"
    return [f"{parameters:,}", f"{gmac:.2f}", f"{activation_bytes / 1e6:.1f}", time]
