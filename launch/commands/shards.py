"""shards phantom | import | build: slides in, tar shards out, outside of any campaign."""

import argparse
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from launch.config import CampaignConfig, load_campaign
from launch.kinds import slide_table
from launch.run_folder import RunFolder
from mlseg_core.config import Strict, load_config, read_yaml
from mlseg_core.errors import EXIT_DONE, UserError
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
    imported = actions.add_parser("import", help="make slides and annotations of image and mask tiles")
    imported.add_argument("folder", type=Path, metavar="DIR", help="the folder of the tiles")
    _options(imported)
    imported.set_defaults(run=import_tiles)
    build = _action(actions, "build", "cut the slides of a table into shards")
    build.add_argument("--slides", type=Path, metavar="CSV", help="the slide table; default: the campaign's")
    build.set_defaults(run=build_shards)


def _action(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = actions.add_parser(name, help=text)
    _options(parser)
    return parser


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, help="YAML file of this part alone, or a campaign file")
    parser.add_argument("overrides", nargs="*", metavar="key.path=value", help="values that replace the file's")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where the outputs go; default: the campaign's folder")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that work at once")


def make_phantom(arguments: argparse.Namespace) -> int:
    """shards phantom"""
    from shards import phantom

    return _make_slides(arguments, phantom, _section(arguments, "phantom", PhantomConfig))


def import_tiles(arguments: argparse.Namespace) -> int:
    """shards import"""
    from shards import tiles

    settings = _section(arguments, "tiles", TilesConfig)
    return _make_slides(arguments, tiles, settings.model_copy(update={"folder": arguments.folder}))


def _make_slides(arguments: argparse.Namespace, maker: ModuleType, settings: Strict) -> int:
    out = _out(arguments, "slides")
    units = maker.units(settings)
    map_in_processes(units, maker.draw, out, arguments.workers, label="slides", progress_unit="slides")
    merge(units, out)
    print(maker.write_table(settings, out))
    return EXIT_DONE


def build_shards(arguments: argparse.Namespace) -> int:
    """shards build"""
    from shards import build

    config = _section(arguments, "shards", ShardsConfig)
    slides, out = arguments.slides or _slides(arguments), _out(arguments, "shards")
    units = build.units(config, slides)
    map_in_processes(
        units, build.cut, out, arguments.workers, describe=build.describe, label="shards", progress_unit="slides"
    )
    print(build.write_manifest(config, slides, out))
    return EXIT_DONE


def _campaign(arguments: argparse.Namespace) -> CampaignConfig | None:
    """The campaign, when the config is a campaign file. Raises UserError."""
    is_campaign = "steps" in read_yaml(arguments.config)
    return load_campaign(arguments.config, arguments.overrides) if is_campaign else None


def _out(arguments: argparse.Namespace, name: str) -> Path:
    campaign = _campaign(arguments)
    if arguments.out is not None:
        return arguments.out
    if campaign is None:
        raise UserError("no folder for the outputs", "command line", "Add --out DIR.")
    return RunFolder.of(campaign).data / name


def _slides(arguments: argparse.Namespace) -> Path:
    campaign = _campaign(arguments)
    if campaign is None:
        raise UserError("no slide table", "command line", "Add --slides slides.csv.")
    return slide_table(campaign, RunFolder.of(campaign))


def _section(arguments: argparse.Namespace, name: str, model: type[Settings]) -> Settings:
    """The settings from a file of their own, or from their place in a campaign file. Raises UserError."""
    campaign = _campaign(arguments)
    if campaign is None:
        return load_config(arguments.config, model, arguments.overrides)
    settings = getattr(campaign, name)
    if settings is None:
        raise UserError(f"the campaign has no {name!r} section", arguments.config, "Choose the command that fits it.")
    return settings
