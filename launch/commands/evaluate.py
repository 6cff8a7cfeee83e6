"""evaluate: scores the existing teachers on chosen splits, beside the campaign's own evaluation."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch.commands.learning import load_run
from launch.commands.words import at_least_one
from launch.phases import slide_table
from launch.run_folder import RunFolder, find_run
from launch.teachers import find_teacher
from mlseg_core.config import validate
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError
from mlseg_core.exactly_once.run import Unit, map_in_processes
from mlseg_core.files import read_json
from mlseg_core.own import check_folder, refuse_foreign
from mlseg_dist.config import EvaluateConfig
from mlseg_dist.evaluation import ledger
from mlseg_dist.evaluation.against import steps_against, subject_against
from mlseg_dist.evaluation.campaign import corpus_of, teachers_of
from mlseg_dist.evaluation.drawn import is_drawn
from mlseg_dist.evaluation.of_bundle import bundle_subject, table_slides
from mlseg_dist.evaluation.plan import Subject, no_slides, scored_slides, taught, units
from mlseg_dist.evaluation.results import split_done
from mlseg_dist.run_folder import counts_folder, evaluations_folder
from mlseg_dist.teachers.of_bundle import is_bundle, read_evaluation

_VIEWS = {"view_px": "--view-px", "overlap": "--overlap"}
"""Keys of `evaluate` -> options that stand for them."""


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = commands.add_parser("evaluate")
    parser.add_argument("where", type=Path, metavar="RUN|BUNDLE", help="run folder, its config, or what `bundle` made")
    parser.add_argument(
        "--slides", type=Path, metavar="TABLE.csv", help="with a bundle: your slides and annotations, as a slide table"
    )
    parser.add_argument("--split", action="append", metavar="NAME", help="may be repeated; default: evaluate.splits")
    parser.add_argument("--steps", metavar="A,B", help="default: all that have a teacher")
    parser.add_argument(
        "--threshold", type=float, metavar="T", help="instead of each teacher's own; on --split val only"
    )
    parser.add_argument("--view-px", type=int, metavar="N", help="side of the views; default: evaluate.view_px")
    parser.add_argument(
        "--overlap", type=float, metavar="SHARE", help="of neighbouring views; default: evaluate.overlap"
    )
    parser.add_argument("--against", type=Path, metavar="RUN", help="another run over the same slides, to compare with")
    parser.add_argument(
        "--workers", type=at_least_one("--workers"), default=1, metavar="N", help="processes; default: 1"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="default: RUN/evaluations/NAME, named after the splits; a bundle has no default",
    )
    parser.add_argument("--again", default="", metavar="REASON", help="open final-unseen once more, and record why")
    parser.set_defaults(run=evaluate)


def evaluate(arguments: argparse.Namespace) -> int:
    """Score, write evaluation.json and pictures, print the headline. Continues where an earlier call was interrupted."""
    if is_bundle(arguments.where):
        return _evaluate_bundle(arguments)
    if arguments.slides is not None:
        what = "a run is evaluated on the slides that its corpus was cut from"
        raise UserError(what, "--slides", "Leave it out, or name a bundle: mlseg bundle RUN --out DIR.")
    config, run = load_run(arguments)
    subject = taught(_subject(config, run, arguments))
    splits = subject.config.evaluate.splits
    _check_threshold(arguments, splits)
    if arguments.again and ledger.SPLIT not in splits:
        raise UserError("nothing that is opened once is among the splits", "--again", f"Add --split {ledger.SPLIT}.")
    if arguments.out == Path():
        raise UserError("no folder is named", "--out", "Name one, or leave --out away.")
    out = arguments.out or evaluations_folder(run.path) / _name(arguments, splits)
    refuse_out(out, run.path, splits)
    slides = scored_slides(subject, splits)
    empty = [split for split in splits if not any(one.split == split for one in slides)]
    if empty and (arguments.split or len(empty) == len(splits)):
        raise no_slides(subject, empty)
    todo, other = units(subject, slides), None
    their_units: list[Unit] = []
    if arguments.against is not None:
        their = find_run(arguments.against)
        their_config = their.config()
        theirs = Subject(their_config, their.path, their_config.shards, slide_table(their_config, their))
        theirs, their_slides = subject_against(subject, slides, theirs)
        their_units = units(theirs, their_slides)
        other = (theirs, their_units, steps_against(subject, theirs))
    inputs, opening = ledger.inputs_of([*todo, *their_units]), None
    if inputs:
        said = "mlseg evaluate --split final-unseen"
        opening = ledger.open_split(
            run.path, corpus_of(subject), inputs, teachers_of(subject), said, again=arguments.again
        )
    folders = [counts_folder(run.path), evaluations_folder(run.path) / "counts"]
    _count([*todo, *their_units], folders, arguments.workers)
    from mlseg_dist.evaluation.publish import Other, publish

    found = publish(
        subject,
        todo,
        folders,
        out,
        against=None if other is None else Other(*other),
        source=None if arguments.threshold is None else "command line",
    )
    if opening is not None:
        ledger.finish(run.path, opening)
    return _tell(found, out)


def _tell(found: dict[str, Any], out: Path) -> int:
    """Print the headline and what was not scored. Returns the exit status."""
    from mlseg_dist.evaluation.publish import reasons
    from mlseg_dist.evaluation.table import print_headline

    print_headline(found, out / "evaluation.json")
    for why in reasons(found):
        print(f"mlseg: {why}")
    return EXIT_FAILED if found["not_scored"] else EXIT_DONE


def _evaluate_bundle(arguments: argparse.Namespace) -> int:
    """Score a bundle on a person's own annotated slides."""
    if arguments.slides is None:
        what = "a bundle holds no slides to be evaluated on"
        raise UserError(what, "--slides", "Name a slide table with annotations: --slides TABLE.csv.")
    if arguments.out is None or arguments.out == Path():
        raise UserError("a bundle has no folder for evaluations", "--out", "Name one: --out DIR.")
    for option in ("against", "again"):
        if getattr(arguments, option):
            raise UserError("needs a run", f"--{option}", "Leave it out, or evaluate the run.")
    teacher = find_teacher(arguments.where, arguments.steps)
    changes = {key: value for key in _VIEWS if (value := getattr(arguments, key)) is not None}
    if arguments.threshold is not None:
        changes["threshold"] = arguments.threshold
    wanted = list(dict.fromkeys(arguments.split or ()))
    subject = bundle_subject(teacher, read_evaluation(arguments.where), arguments.slides, wanted, changes)
    splits, out = subject.config.evaluate.splits, arguments.out
    _check_threshold(arguments, splits)
    refuse_out(out, teacher.place, splits)
    if out.resolve() == teacher.place.resolve() or teacher.place.resolve() in out.resolve().parents:
        raise UserError("the bundle lies there", out, "Name another folder with --out.")
    teacher.check_weights()
    slides = table_slides(subject)
    left_out = Counter(one.split for one in subject.slides if one.split not in splits and one.annotation is not None)
    for split, count in left_out.items():
        print(f"mlseg: {count} annotated slides of {split} are left out", file=sys.stderr)
    todo, folders = units(subject, slides), [out / "counts"]
    _count(todo, folders, arguments.workers)
    from mlseg_dist.evaluation.publish import publish

    found = publish(subject, todo, folders, out, source=None if arguments.threshold is None else "command line")
    return _tell(found, out)


def _check_threshold(arguments: argparse.Namespace, splits: Sequence[str]) -> None:
    if arguments.threshold is not None and set(splits) != {"val"}:
        what = f"a threshold of one's choice on {', '.join(s for s in splits if s != 'val')}"
        raise UserError(what, "--threshold", "Choose it on val, add --split val; other splits take the teacher's own.")


def _subject(config: Any, run: RunFolder, arguments: argparse.Namespace) -> Subject:
    """The run under the settings of the command line. Raises UserError."""
    settings = config.evaluate.model_dump(mode="json")
    names = [step.name for step in config.steps]
    if arguments.split:
        settings["splits"] = list(dict.fromkeys(arguments.split))
        validate(settings, EvaluateConfig, "--split")
    if arguments.threshold is not None:
        settings["threshold"] = arguments.threshold
        validate(settings, EvaluateConfig, "--threshold")
    for key, option in _VIEWS.items():
        value = getattr(arguments, key)
        if value is not None:
            settings[key] = value
            validate(settings, EvaluateConfig, option)
    if arguments.steps is not None:
        settings["steps"] = [name.strip() for name in arguments.steps.split(",")]
        if unknown := [name for name in settings["steps"] if name not in names]:
            raise UserError(f"no step {unknown[0]!r}", "--steps", f"There are: {', '.join(names)}.")
    config = config.model_copy(update={"evaluate": validate(settings, EvaluateConfig, "command line")})
    return Subject(config, run.path, config.shards, slide_table(config, run))


def _name(arguments: argparse.Namespace, splits: Sequence[str]) -> str:
    """Name of the folder below RUN/evaluations: what was asked for."""
    parts = ["+".join(splits)]
    if arguments.steps is not None:
        parts.append("of-" + "+".join(name.strip() for name in arguments.steps.split(",")))
    if arguments.threshold is not None:
        parts.append(f"at-{arguments.threshold:g}")
    parts += [
        f"{option.strip('-')}-{getattr(arguments, key):g}"
        for key, option in _VIEWS.items()
        if getattr(arguments, key) is not None
    ]
    if arguments.against is not None:
        parts.append(f"against-{find_run(arguments.against).path.name}")
    return "-".join(parts)


def refuse_out(out: Path, run: Path, splits: Sequence[str]) -> None:
    """Raises UserError where evaluate would overwrite somebody's files or the campaign's own evaluation."""
    place, own = out.resolve(), run.resolve()
    counts = evaluations_folder(own) / "counts"
    taken = [*((own / name).resolve() for name in ("phases", "data", "code", "report", "private")), counts]
    if place == own or any(folder == place or folder in place.parents for folder in taken):
        raise UserError("the campaign's own files lie there", out, "Name another folder with --out.")
    check_folder(place, "Name another folder with --out.")
    scores = out / "evaluation.json"

    def is_ours(path: Path) -> bool:
        found = read_json(path)
        return isinstance(found, dict) and found.keys() >= {"version", "classes", "steps", "corpus_sha256"}

    refuse_foreign([scores], is_ours)
    refuse_foreign([path for split in splits for path in (out / "pictures").glob(f"*{split}-[0-9]*.png")], is_drawn)


def _count(todo: Sequence[Unit], folders: Sequence[Path], workers: int) -> None:
    """Count the units that are in none of the folders, into the last one. Raises Interrupted, UserError, RuntimeError."""
    _, left = split_done(list({unit.name: unit for unit in todo}.values()), folders)
    if not left:
        return
    from mlseg_dist.evaluation import work

    failed = map_in_processes(
        left,
        work.count,
        folders[-1],
        workers,
        describe=work.describe,
        label="evaluate",
        progress_unit="passes",
        piece_unit="patches",
    )
    if failed:
        first = failed[0]
        text = f"{len(failed)} of {len(todo)} passes failed; {first.unit}: {first.reason}"
        where = folders[-1] / "failed" / f"{first.unit}.json"
        raise UserError(text, where) if all(one.mistake for one in failed) else RuntimeError(f"{text} (see {where})")
