"""shards phantom | import | build: slides in, tar shards out, outside of any campaign."""

import argparse
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from mlseg_core.config import Strict, load_config
from mlseg_core.errors import EXIT_DONE
from mlseg_core.map import map_in_processes, merge
from shards.config import ShardsConfig
from shards.phantom.config import PhantomConfig
from shards.tiles_config import TilesConfig

Settings = TypeVar("Settings", bound=Strict)


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    group = commands.add_parser("shards", help="slides in, tar shards out")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    phantom = _action(actions, "phantom", "draw synthetic slides with annotations and their table")
    phantom.set_defaults(run=make_phantom)
    imported = _action(actions, "import", "make slides and annotations of image and mask tiles")
    imported.set_defaults(run=import_tiles)
    build = _action(actions, "build", "cut the slides of a table into shards")
    build.add_argument("--slides", type=Path, required=True, metavar="CSV", help="the slide table")
    build.set_defaults(run=build_shards)


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text)
    parser.add_argument("config", type=Path, help="YAML file of this part alone, or a campaign file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values that replace the file's")
    parser.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the outputs go")
    parser.add_argument("--processes", type=int, default=1, help="how many processes work at once")
    return parser


def make_phantom(arguments: argparse.Namespace) -> int:
    """shards phantom"""
    from shards import phantom

    return _make_slides(arguments, phantom, _section(arguments, "phantom", PhantomConfig))


def import_tiles(arguments: argparse.Namespace) -> int:
    """shards import"""
    from shards import tiles

    return _make_slides(arguments, tiles, _section(arguments, "tiles", TilesConfig))


def _make_slides(arguments: argparse.Namespace, maker: ModuleType, settings: Strict) -> int:
    units = maker.units(settings)
    map_in_processes(units, maker.draw, arguments.out, arguments.processes, label="slides", progress_unit="slides")
    merge(units, arguments.out)
    print(maker.write_table(settings, arguments.out))
    return EXIT_DONE


def build_shards(arguments: argparse.Namespace) -> int:
    """shards build"""
    from shards import build

    config = _section(arguments, "shards", ShardsConfig)
    units = build.units(config, arguments.slides)
    map_in_processes(
        units,
        build.cut,
        arguments.out,
        arguments.processes,
        describe=build.describe,
        label="shards",
        progress_unit="slides",
    )
    print(build.write_manifest(config, arguments.slides, arguments.out))
    return EXIT_DONE


def _section(arguments: argparse.Namespace, name: str, model: type[Settings]) -> Settings:
    """The settings from a file of their own, or from their place in a campaign file. Raises UserError."""
    from launch.config import load_campaign
    from mlseg_core.config import read_yaml
    from mlseg_core.errors import UserError

    if "steps" not in read_yaml(arguments.config):
        return load_config(arguments.config, model, arguments.overrides)
    settings = getattr(load_campaign(arguments.config, arguments.overrides), name)
    if settings is None:
        raise UserError(f"the campaign has no {name!r} section", arguments.config, "Choose the command that fits it.")
    return settings
