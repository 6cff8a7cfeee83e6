"""sweep: one campaign with many settings and seeds, and whether the hypothesis holds."""

import argparse
import sys
from pathlib import Path

from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.files import write_atomic
from mlseg_core.own import check_folder

_TITLE = "# Sweep "


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = commands.add_parser("sweep")
    parser.add_argument("file", type=Path, metavar="FILE", help="sweep file, such as configs/proof/*.yaml")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where run folders go; default: runs/sweep-NAME")
    parser.add_argument("--rows", type=Path, metavar="DIR", help="where rows go; default: rows/NAME beside FILE")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="campaigns at a time; default: 1")
    parser.add_argument(
        "--only", action="append", metavar="ARM", help="run only this arm, or only ARM-SEED; may be repeated"
    )
    parser.add_argument("--table", action="store_true", help="run nothing; show the table of the rows that are there")
    parser.set_defaults(run=sweep)


def sweep(arguments: argparse.Namespace) -> int:
    """Run what has no row yet, then write and show the table. Exit status 1 when an arm failed or an expectation is not met."""
    from launch.run_folder import RunFolder
    from launch.sweep.compare import compare
    from launch.sweep.config import arms_of, choose, load_sweep
    from launch.sweep.rows import rows_of
    from launch.sweep.run import SweepRun
    from launch.sweep.table import markdown

    if arguments.jobs < 1:
        raise UserError(f"{arguments.jobs} campaigns at a time", "--jobs", "Give 1 or more.")
    wanted = load_sweep(arguments.file)
    rows = arguments.rows or arguments.file.parent / "rows" / wanted.name
    for option, place in (("--out", arguments.out), ("--rows", arguments.rows)):
        if place is not None:
            check_folder(place, f"Name another folder with {option}.")
    status = EXIT_DONE
    folder = (arguments.out or Path("runs") / f"sweep-{wanted.name}").absolute()
    arms = list(arms_of(wanted, arguments.file, folder))
    chosen = choose(arms, arguments.only)
    if not arguments.table:
        beside = [RunFolder(path.parent) for path in sorted(folder.parent.glob("sweep-*/*/run.json"))]
        status = SweepRun(chosen, rows, arguments.jobs, beside, say=lambda text: print(text, flush=True)).run()
        if status not in (EXIT_DONE, EXIT_FAILED):
            return status
    found = rows_of(arms, rows)
    results = compare(wanted, found)
    text = markdown(wanted, found, results)
    if found:
        _write_table(rows.parent / f"{wanted.name}.md", text)
    print(text, end="")
    if any(result.passed is False for result in results):
        print("mlseg: the hypothesis is refuted: not every expectation was met", file=sys.stderr)
        return EXIT_FAILED
    return status


def _write_table(path: Path, text: str) -> None:
    """Write the table. Raises UserError if somebody else's file is there."""
    if path.exists() and not path.read_text(encoding="utf-8").startswith(_TITLE):
        raise UserError("there is a file that is no table of ours", path, "Move it away, or give other --rows.")
    write_atomic(path, text)
