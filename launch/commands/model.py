"""model: what the networks of campaigns cost, before anything is trained; of one, or of several to compare."""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.campaign import load_where
from launch.config import CampaignConfig
from launch.teachers import step_index
from mlseg_core.errors import EXIT_DONE
from mlseg_dist.config import ModelConfig, StepConfig

if TYPE_CHECKING:
    from mlseg_dist.model.summary import Summary

_COLUMNS = ("parameters", "GMAC", "activations MB", "forward ms")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = commands.add_parser("model")
    parser.add_argument("where", type=Path, metavar="CONFIG", help="campaign config, or a run folder")
    parser.add_argument(
        "words",
        nargs="*",
        metavar="CONFIG|key=value",
        help="more of them to compare with; dotted overrides, which hold for each",
    )
    parser.add_argument("--step", metavar="NAME", help="whose network; default: the last step's")
    parser.add_argument("--no-time", action="store_true", help="count only; takes no memory and no time")
    parser.add_argument("--json", action="store_true", help="for programs; of several configs a list")
    parser.set_defaults(run=model)


@dataclass(frozen=True)
class _Found:
    where: Path
    config: CampaignConfig
    step: StepConfig
    summary: "Summary"

    def json(self) -> dict[str, Any]:
        return {"step": self.step.name, "kind": self.step.model.kind} | self.summary.json()


def model(arguments: argparse.Namespace) -> int:
    """One network's table, or that of several."""
    overrides = [word for word in arguments.words if "=" in word and not Path(word).exists()]
    places = [arguments.where, *(Path(word) for word in arguments.words if word not in overrides)]
    # All are read before any is timed: a mistake in the last one is told at once.
    configs = [load_where(where, overrides) for where in places]
    steps = [config.steps[step_index(config, arguments.step or config.own_steps[-1].name)] for config in configs]
    found = [
        _Found(where, config, step, _summary(config, step, not arguments.no_time))
        for where, config, step in zip(places, configs, steps, strict=True)
    ]
    if arguments.json:
        rows = [{"config": str(each.where)} | each.json() for each in found]
        print(json.dumps(rows if len(found) > 1 else found[0].json(), indent=1))
    elif len(found) > 1:
        _print_all(found)
    else:
        _print(found[0])
    return EXIT_DONE


def _summary(config: CampaignConfig, step: StepConfig, timed: bool) -> "Summary":
    from mlseg_dist.device import device_for
    from mlseg_dist.model import build_model
    from mlseg_dist.model.summary import summarise

    return summarise(
        lambda: build_model(step.model, config.shards.ratio),
        config.train.patch_px,
        config.train.precision == "bf16",
        device_for() if timed else None,
    )


def _print(found: _Found) -> None:
    from rich.console import Console
    from rich.table import Table

    config, step, summary = found.config, found.step, found.summary
    encoder = step.model.encoder.name.upper()
    table = Table(
        title=f"{step.name}: {step.model.kind}, encoder {encoder}, one pair of {summary.side} px", title_justify="left"
    )
    table.add_column("part")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for part in summary.parts:
        table.add_row(_words(part.name), *_cells(part.parameters, part.gmac, part.activation_bytes, part.ms))
    table.add_section()
    table.add_row("all", *_cells(*_totals(summary)))
    console = Console(highlight=False)
    console.print(table)
    console.print(_measured(summary))
    others = [s.name for s in config.steps if s.model != step.model]
    if others:
        console.print(f"Another network: --step {', '.join(others)}")


def _print_all(found: list[_Found]) -> None:
    """Show part by part, with a row for each config, so that what is compared is in one column."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    names = _names([each.where for each in found])
    table = Table("part", "config", box=None, pad_edge=False, header_style="bold")
    for column in _COLUMNS:
        table.add_column(column, justify="right")
    for part in dict.fromkeys(part.name for each in found for part in each.summary.parts):
        title = _words(part)
        for name, each in zip(names, found, strict=True):
            cells = [
                _cells(p.parameters, p.gmac, p.activation_bytes, p.ms) for p in each.summary.parts if p.name == part
            ]
            table.add_row(title, escape(name), *(cells[0] if cells else ["–"] * len(_COLUMNS)))
            title = ""
    title = "all"
    for name, each in zip(names, found, strict=True):
        table.add_row(title, escape(name), *_cells(*_totals(each.summary)), style="bold")
        title = ""
    console = Console(highlight=False)
    for name, each in zip(names, found, strict=True):
        said = (
            f"{each.step.name}, {_design(each.step.model)}, pairs of {each.summary.side} px, {_measured(each.summary)}"
        )
        console.print(f"[bold]{escape(name)}[/]: {escape(said)}")
    console.print()
    console.print(table)


def _names(places: list[Path]) -> list[str]:
    """Names of files without their ending, and of run folders; whole paths where two are alike."""
    stems = [where.resolve().name if where.is_dir() else where.stem for where in places]
    return stems if len(set(stems)) == len(stems) else [str(where) for where in places]


def _design(model: ModelConfig) -> str:
    """What tells networks apart, in words."""
    if model.kind == "hooknet":
        return (
            f"hooknet ({model.hooknet.filters} filters, depth {model.hooknet.depth}, {model.hooknet.padding} padding)"
        )
    words = [f"{model.kind}, encoder {model.encoder.name.upper()}"]
    if model.kind == "munet":
        words.append(f"merge {model.merge} at {' '.join(map(str, model.hooks))}")
    else:
        words.append(f"{model.view} view")
    if model.kind != "deeplab":
        words.append(f"{model.decoder.kind} decoder to stride {model.decoder.stride}")
    return ", ".join(words)


def _measured(summary: "Summary") -> str:
    return summary.dtype if summary.device == "not timed" else f"{summary.dtype}; timed on {summary.device}"


def _words(part: str) -> str:
    return part.replace("_", " ")


def _totals(summary: "Summary") -> tuple[int, float, int, float | None]:
    return (
        summary.total("parameters"),
        summary.total("gmac"),
        summary.total("activation_bytes"),
        summary.total("ms"),
    )


def _cells(parameters: int, gmac: float, activation_bytes: int, ms: float | None) -> list[str]:
    time = "–" if ms is None else f"{ms:.1f}"
    return [f"{parameters:,}", f"{gmac:.2f}", f"{activation_bytes / 1e6:.1f}", time]
