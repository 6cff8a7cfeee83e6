"""shards verify | show: what lies in a folder of shards, proven and shown. Works from the folder alone."""

import argparse
import contextlib
import json
import os
import sys
from pathlib import Path

from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.own import check_file, is_page, refuse_foreign


def add(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add both subcommands to the group `shards`."""
    verify = actions.add_parser("verify", help="prove every byte, image, label and count of a folder of shards")
    verify.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="a corpus, a round of labels or styled views: the folder of its manifest.json",
    )
    verify.add_argument("--json", action="store_true", help="print the findings as JSON")
    verify.add_argument(
        "--slides",
        type=Path,
        metavar="CSV",
        help="also read every byte of the slides of this table: are they the files that were cut? Their sha256 is recorded",
    )
    cores = len(os.sched_getaffinity(0))
    verify.add_argument("--workers", type=int, default=cores, metavar="N", help="processes; default: all cores")
    verify.set_defaults(run=verify_shards)
    show = actions.add_parser("show", help="write one HTML page that shows a corpus to people")
    show.add_argument("folder", type=Path, metavar="DIR", help="the corpus: the folder of its manifest.json")
    show.add_argument("--out", type=Path, metavar="FILE.html", help="default: DIR/index.html")
    show.set_defaults(run=show_shards)


def verify_shards(arguments: argparse.Namespace) -> int:
    """shards verify"""
    from mlseg_dist.run_folder import is_cleaned
    from shards.verify.corpus import verify_corpus

    if arguments.workers < 1:
        raise UserError("--workers must be at least 1", "command line", "Leave it out for all cores.")
    if is_cleaned(arguments.folder):
        fix = "It will be made again when a phase needs it."
        raise UserError("its shards were cleaned away; only the manifest is left", arguments.folder, fix)
    with contextlib.redirect_stdout(sys.stderr):  # findings alone go to stdout
        report = verify_corpus(arguments.folder, arguments.workers)
        if arguments.slides is not None:
            from shards.verify.slides import verify_slides

            verify_slides(arguments.folder, arguments.slides, report)
    if arguments.json:
        print(json.dumps(report.as_json(), ensure_ascii=False))
    else:
        for finding in report.damage:
            print(finding)
        for finding in report.warnings:
            print(f"warning: {finding}")
        verdict = "sound" if report.ok else f"DAMAGED: {len(report.damage)} findings"
        print(
            f"{arguments.folder}: {verdict}; {report.shards} shards, {report.samples} samples, "
            f"{report.bytes / 1e6:.1f} MB, {len(report.warnings)} warnings"
        )
    return EXIT_DONE if report.ok else EXIT_FAILED


def show_shards(arguments: argparse.Namespace) -> int:
    """shards show"""
    from mlseg_core.files import write_atomic
    from shards.show.page import render

    out = arguments.out or arguments.folder / "index.html"
    check_file(out, "Name another file with --out.")
    refuse_foreign([out], lambda path: is_page(path, "shards"))
    write_atomic(out, render(arguments.folder))
    print(out)
    return EXIT_DONE
