"""predict: maps, regions, areas and a picture of slides, by the teacher of a run or of a bundle."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from launch.campaign import runs_on_slurm
from launch.commands.words import at_least_one
from launch.config import load_cluster
from launch.resources.blocks import ClusterConfig, JobConfig
from launch.resources.cluster_files import find_cluster
from launch.resources.gpus import tasks_here
from launch.teachers import find_teacher
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.exactly_once.run import Failed, Unit, map_in_processes
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
    parser.add_argument(
        "--workers",
        type=at_least_one("--workers"),
        metavar="N",
        help="processes on this machine, default: 1; with --cluster jobs, default: cluster.predict.workers",
    )
    parser.add_argument(
        "--cluster",
        metavar="SITE",
        help="predict in jobs on SLURM, with the block `predict` of configs/clusters/SITE.yaml (or a path)",
    )
    parser.add_argument("--no-wait", action="store_true", help="with --cluster: leave once the jobs are queued")
    parser.set_defaults(run=predict)


def predict(arguments: argparse.Namespace) -> int:
    """Predict the slides that are not done yet. All that a person can get wrong is told before torch is loaded."""
    cluster = _cluster(arguments)
    teacher = find_teacher(arguments.where, arguments.step)
    out = _out(arguments, teacher)
    given = Given(arguments.mpp, arguments.mpp_override, arguments.stain, arguments.scanner)
    slides = find_slides(arguments.slides, given)
    teacher.check_weights()
    check_scales(slides, teacher)
    todo = units(teacher, slides, arguments.everywhere)
    if cluster is not None and runs_on_slurm(cluster):
        return _on_slurm(todo, out, cluster, arguments.no_wait)
    from mlseg_dist.prediction import work

    here = cluster.job("predict") if cluster is not None else None
    failed = map_in_processes(
        todo,
        work.predict,
        out,
        arguments.workers or (1 if here is None else here.workers * tasks_here(here)),
        describe=work.describe,
        label="predict",
        progress_unit="slides",
        piece_unit="patches",
    )
    return _conclude(todo, failed, out)


def _cluster(arguments: argparse.Namespace) -> ClusterConfig | None:
    """The resources of the site that a person named, with as many workers as he asked for. Raises UserError."""
    if arguments.cluster is None:
        if arguments.no_wait:
            raise UserError("--no-wait without --cluster", "command line", "Add --cluster SITE, or leave it out.")
        return None
    cluster = load_cluster(find_cluster(arguments.cluster, arguments.where))
    if arguments.workers is None:
        return cluster
    block = JobConfig.model_validate({**cluster.predict.chosen, "workers": arguments.workers})
    return cluster.model_copy(update={"predict": block})


def _on_slurm(todo: Sequence[Unit], out: Path, cluster: ClusterConfig, no_wait: bool) -> int:
    from launch.prediction.start import predict_on_slurm

    found = predict_on_slurm(todo, out, cluster, wait=not no_wait)
    if found is None:
        print("The same command shows how they stand, and what they gave.")
        return EXIT_DONE
    status = _conclude(todo, found.failed, out)
    if not found.left:
        return status
    print(f"mlseg: {len(found.left)} slides are left, as jobs failed again and again: see the logs, then start again")
    return EXIT_FAILED


def _conclude(todo: Sequence[Unit], failed: Sequence[Failed], out: Path) -> int:
    """Say what came of the slides, write quarantine.csv. Returns the exit status."""
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
