"""predict: maps, regions, areas and a picture of slides, by the teacher of a run or of a bundle."""

import argparse
from pathlib import Path

from launch.teachers import find_teacher
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.exactly_once.run import map_in_processes
from mlseg_dist.prediction.plan import units
from mlseg_dist.prediction.results import check_out, lines, write_quarantine
from mlseg_dist.prediction.wanted import Given, check_scales, find_slides
from mlseg_dist.teachers.teacher import Teacher

_OF_THE_RUN = ("phases", "data", "code", "report", "private", "evaluations", "plans")


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = commands.add_parser("predict")
    parser.add_argument("where", type=Path, metavar="RUN|BUNDLE", help="run folder, its config, or what `bundle` made")
    parser.add_argument(
        "slides", nargs="+", metavar="SLIDE", help="files, folders of a DICOM slide, globs in quotes, or a slide table"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="a folder a slide; default: RUN/predictions")
    parser.add_argument("--step", metavar="NAME", help="whose teacher predicts; default: the last step with one")
    parser.add_argument("--stain", default="", metavar="NAME", help="of the slides, to warn where it was never seen")
    parser.add_argument("--scanner", default="", metavar="NAME", help="of the slides, likewise")
    parser.add_argument("--mpp", type=float, help="µm/px of level 0, for slides that do not say it")
    parser.add_argument("--mpp-override", action="store_true", help="the slides say their µm/px, but --mpp is right")
    parser.add_argument("--everywhere", action="store_true", help="predict glass too, not only tissue")
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes on this machine; default: 1")
    parser.set_defaults(run=predict)


def predict(arguments: argparse.Namespace) -> int:
    """Predict the slides that are not done yet. All that a person can get wrong is told before torch is loaded."""
    if arguments.workers < 1:
        raise UserError(f"{arguments.workers} workers", "--workers", "Give 1 or more.")
    teacher = find_teacher(arguments.where, arguments.step)
    out = _out(arguments, teacher)
    given = Given(arguments.mpp, arguments.mpp_override, arguments.stain, arguments.scanner)
    slides = find_slides(arguments.slides, given)
    teacher.check_weights()
    check_scales(slides, teacher)
    todo = units(teacher, slides, arguments.everywhere)
    from mlseg_dist.prediction import work

    failed = map_in_processes(
        todo,
        work.predict,
        out,
        arguments.workers,
        describe=work.describe,
        label="predict",
        progress_unit="slides",
        piece_unit="patches",
    )
    for line in lines(todo, out):
        print(line)
    for line in write_quarantine(todo, failed, out):
        print(f"mlseg: {line}")
    return EXIT_FAILED if failed else EXIT_DONE


def _out(arguments: argparse.Namespace, teacher: Teacher) -> Path:
    is_run = (teacher.place / "campaign.yaml").is_file()
    if arguments.out is None and not is_run:
        raise UserError("a bundle has no folder for predictions", "--out", "Name one: --out DIR.")
    out: Path = teacher.place / "predictions" if arguments.out is None else arguments.out
    check_out(out, [teacher.place / name for name in _OF_THE_RUN] if is_run else [])
    return out
