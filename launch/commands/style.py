"""style train | apply | show: generators of styles, and styled shards, beside any corpus; in a campaign they are phases."""

import argparse
import json
from pathlib import Path

from launch.campaign import load_where
from launch.commands.words import at_least_one
from launch.config import CampaignConfig
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.own import check_folder, refuse_foreign
from mlseg_dist.run_folder import shards_folder
from mlseg_dist.style.pairs import StylePair, wanted
from shards.manifest import is_manifest, read_manifest


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    group = commands.add_parser("style")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    train = _action(actions, "train", "train a generator of each pair; started again, it continues")
    train.set_defaults(run=train_generators)
    apply = _action(actions, "apply", "make the styled shards that gan_style reads; started again, it continues")
    apply.add_argument(
        "--workers", type=at_least_one("--workers"), default=1, metavar="N", help="processes that work at once"
    )
    apply.set_defaults(run=style_shards)
    show = _action(actions, "show", "a picture of each pair: source, styled, target")
    show.set_defaults(run=show_styles)
    for action in (train, show):
        action.add_argument("--pair", nargs=2, metavar=("SOURCE", "TARGET"), help="only this one, as a job of its own")


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text)
    parser.add_argument("where", type=Path, metavar="CONFIG", help="campaign config, or a run folder")
    parser.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="dotted overrides of the config")
    parser.add_argument("--shards", type=Path, metavar="DIR", help="the corpus; default: the campaign's own")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where generators/ and styled/ go; default: beside the corpus"
    )
    return parser


def _opened(arguments: argparse.Namespace) -> tuple[CampaignConfig, Path, Path, list[StylePair]]:
    """Config, corpus, folder of the outputs, pairs. Raises UserError."""
    config = load_where(arguments.where, arguments.overrides)
    shards = arguments.shards or shards_folder(RunFolder.of(config).path)
    if arguments.out is not None:
        check_folder(arguments.out, "Name another folder with --out.")
    if not (shards / "manifest.json").exists():
        raise UserError("no corpus there", shards, "Make it, or name another: --shards DIR.")
    pairs = wanted(config.style, read_manifest(shards / "manifest.json"))
    if getattr(arguments, "pair", None):
        chosen = StylePair(*arguments.pair)
        if chosen not in pairs:
            known = ", ".join(f"{pair.source} {pair.target}" for pair in pairs)
            raise UserError(f"no pair {chosen.source} {chosen.target}", "--pair", f"There are: {known}.")
        pairs = [chosen]
    return config, shards, arguments.out or shards.parent, pairs


def train_generators(arguments: argparse.Namespace) -> int:
    """style train"""
    config, shards, out, pairs = _opened(arguments)
    from launch.job import Signals
    from mlseg_dist.style.generators import train_generators
    from mlseg_dist.style.stylist import generator_record

    signals = Signals()
    train_generators(config, shards, out, pairs, lambda: signals.stopped, None)
    for pair in pairs:
        made = generator_record(out, pair)
        print(json.dumps({name: made[name] for name in ("source", "target", "steps", "sha256")}), flush=True)
    return EXIT_DONE


def style_shards(arguments: argparse.Namespace) -> int:
    """style apply"""
    config, shards, out, _ = _opened(arguments)
    from mlseg_core.exactly_once.run import map_in_processes
    from mlseg_dist.style import work
    from mlseg_dist.style.publish import write_styled

    folder, todo = out / "styled", work.units_of(config, shards, out, arguments.workers)
    refuse_foreign([folder / "manifest.json"], lambda path: is_manifest(path.read_bytes(), "styled"))
    failed = map_in_processes(
        todo,
        work.style,
        folder,
        arguments.workers,
        describe=work.describe,
        label="style",
        progress_unit="shards",
        piece_unit="pairs",
    )
    for failure in failed:
        print(f"{failure.unit}: {failure.reason}")
    if failed:
        return EXIT_FAILED
    print(write_styled(todo, folder))
    return EXIT_DONE


def show_styles(arguments: argparse.Namespace) -> int:
    """style show"""
    config, shards, out, pairs = _opened(arguments)
    from mlseg_dist.style.sheet import write_sheet

    for pair in pairs:
        print(write_sheet(config.style, shards, out, pair, config.seed, bf16=config.train.precision == "bf16"))
    return EXIT_DONE
