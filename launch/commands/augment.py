"""augment show: what a campaign's augmentation does, in pictures, before anything is trained."""

import argparse
from pathlib import Path

from launch.campaign import load_where
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, UserError
from mlseg_dist.run_folder import shards_folder


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    group = commands.add_parser("augment", help="augmentation of a campaign")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="write one HTML page, and PNGs, of every op and of every step's policy")
    show.add_argument("where", type=Path, metavar="CONFIG", help="campaign config, or a run folder")
    show.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides of the config")
    show.add_argument(
        "--shards", type=Path, metavar="DIR", help="the corpus to show it on; default: the campaign's own"
    )
    show.add_argument(
        "--out", type=Path, metavar="DIR", help="default: augment in the run folder, or augment-NAME here"
    )
    show.add_argument("--seed", type=int, metavar="N", help="of the draws; default: the config's")
    show.set_defaults(run=show_augmentation)


def show_augmentation(arguments: argparse.Namespace) -> int:
    """augment show"""
    config = load_where(arguments.where, arguments.overrides)
    run = RunFolder.of(config)
    shards = arguments.shards or shards_folder(run.path)
    if arguments.shards is None and not (shards / "manifest.json").exists():
        raise UserError("the campaign has no corpus yet", run.path, "Name one: --shards DIR.")
    from mlseg_dist.augment import show

    out = arguments.out or (run.path / "augment" if run.exists() else Path(f"augment-{config.name}"))
    print(show.write(config, shards, out, config.seed if arguments.seed is None else arguments.seed))
    return EXIT_DONE
