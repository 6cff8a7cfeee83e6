"""augment show, hits: what a campaign's augmentation does, in pictures, before anything is trained."""

import argparse
from pathlib import Path

from launch.campaign import load_where
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, UserError
from mlseg_core.own import check_folder
from mlseg_dist.run_folder import shards_folder


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    group = commands.add_parser("augment")
    actions = group.add_subparsers(dest="action", metavar="ACTION", required=True)
    show = actions.add_parser("show", help="write one HTML page, and PNGs, of every op and of every step's policy")
    show.add_argument("where", type=Path, metavar="CONFIG", help="campaign config, or a run folder")
    show.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="dotted overrides of the config")
    show.add_argument(
        "--shards", type=Path, metavar="DIR", help="the corpus to show it on; default: the campaign's own"
    )
    show.add_argument(
        "--out", type=Path, metavar="DIR", help="default: augment in the run folder, or augment-NAME here"
    )
    show.add_argument("--seed", type=int, metavar="N", help="of the draws; default: the config's")
    show.set_defaults(run=show_augmentation)
    hits = actions.add_parser("hits", help="write a PNG of each image: which pixels targeted_hsv shifts, and how far")
    hits.add_argument("where", type=Path, metavar="CONFIG", help="campaign config, or a run folder")
    hits.add_argument("overrides", nargs="*", default=[], metavar="key=value", help="dotted overrides of the config")
    hits.add_argument(
        "--images", type=Path, nargs="+", required=True, metavar="FILE", help="pictures (PNG, JPEG, TIFF) or slides"
    )
    hits.add_argument("--mpp", type=float, metavar="N", help="µm/px of slides that do not say theirs")
    hits.add_argument("--out", type=Path, metavar="DIR", help="default: augment-hits here")
    hits.set_defaults(run=show_hits)


def show_augmentation(arguments: argparse.Namespace) -> int:
    """augment show"""
    config = load_where(arguments.where, arguments.overrides)
    run = RunFolder.of(config)
    shards = arguments.shards or shards_folder(run.path)
    if arguments.shards is None and not (shards / "manifest.json").exists():
        raise UserError("the campaign has no corpus yet", run.path, "Name one: --shards DIR.")
    from mlseg_dist.augment import show

    out = arguments.out or (run.path / "augment" if run.exists() else Path(f"augment-{config.name}"))
    check_folder(out, "Name another folder with --out.")
    print(show.write(config, shards, out, config.seed if arguments.seed is None else arguments.seed))
    return EXIT_DONE


def show_hits(arguments: argparse.Namespace) -> int:
    """augment hits"""
    config = load_where(arguments.where, arguments.overrides)
    from mlseg_dist.augment.show import hits

    op, step = hits.stains_of(config)
    out = arguments.out or Path("augment-hits")
    check_folder(out, "Name another folder with --out.")
    found = hits.write(op, arguments.images, out, config.shards.high_mpp, arguments.mpp)
    print(f"targeted_hsv of {step.name}: share of all pixels that get half of the shift or more")
    for one in found:
        print(", ".join(f"{name} {share:.1%}" for name, share in one.shares.items()), one.path, sep="  ")
    return EXIT_DONE
