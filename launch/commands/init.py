"""init: a working folder."""

import argparse
import shlex
from pathlib import Path

from launch.working_folder import lay_out
from mlseg_core.errors import EXIT_DONE


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = commands.add_parser("init")
    parser.add_argument(
        "folder", type=Path, metavar="DIR", help="made if it is not there; files in it are never changed"
    )
    parser.set_defaults(run=init)


def init(arguments: argparse.Namespace) -> int:
    """Lay it out, and say what to type next."""
    laid_out = lay_out(arguments.folder)
    print(f"{arguments.folder}: wrote {len(laid_out.written)} files")
    if laid_out.kept:
        print(f"kept as they are, though they differ from this version's: {', '.join(laid_out.kept)}")
    print(f"Next: cd {shlex.quote(str(arguments.folder))}, then mlseg plan configs/demo.yaml")
    return EXIT_DONE
