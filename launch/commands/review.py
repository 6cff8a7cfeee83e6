"""review: which regions people should annotate next."""

import argparse
from pathlib import Path

from launch.commands.learning import load_run, run_command
from mlseg_core.errors import EXIT_DONE, UserError

_REASONS = ("conflict", "disagreement", "uncertainty")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommand."""
    parser = run_command(commands, "review")
    parser.add_argument("--budget", type=float, default=20.0, metavar="MM2", help="area to look at, mm²; default: 20")
    parser.add_argument("--round", type=int, metavar="K", help="judge by the labels of round K; default: the newest")
    parser.add_argument(
        "--reason",
        action="append",
        choices=_REASONS,
        help="regions for this reason only; may be repeated; default: all",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/review")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine; default: 1")
    parser.set_defaults(run=review)


def review(arguments: argparse.Namespace) -> int:
    """Write the regions as QuPath GeoJSON, a table and a page; say how many, and where."""
    if not 0 < arguments.budget < float("inf"):
        raise UserError(f"{arguments.budget:g} mm²", "--budget", "Give an area above 0.")
    if arguments.workers < 1:
        raise UserError(f"{arguments.workers} workers", "--workers", "Give 1 or more.")
    config, run = load_run(arguments)
    from mlseg_dist.review.files import PAGE, WORDS
    from mlseg_dist.review.work import review as make

    reasons = tuple(dict.fromkeys(arguments.reason or _REASONS))
    out = arguments.out or run.path / "review"
    made = make(config, config.name, run.path, out, arguments.budget, arguments.round, reasons, arguments.workers)
    counts = ", ".join(f"{count} where {WORDS[reason]}" for reason, count in made.reasons.items())
    print(f"{len(made.regions)} regions, {made.area_mm2:.1f} mm², on {made.slides} slides: {counts}")
    print(made.folder / PAGE)
    return EXIT_DONE
