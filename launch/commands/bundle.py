"""bundle: a run's teacher as a folder that others can use without the run."""

import argparse
import json
from pathlib import Path
from typing import Any

from launch.phases import slide_table
from launch.run_folder import find_run
from launch.teachers import find_teacher, step_index
from mlseg_core.errors import EXIT_DONE, UserError
from mlseg_core.files import read_json
from mlseg_dist.bundle.make import check_bundle_out, make_bundle
from mlseg_dist.evaluation import VERSION
from mlseg_dist.evaluation.plan import Subject
from mlseg_dist.evaluation.summary import majority_class
from mlseg_dist.run_folder import evaluations_folder, labels_folder, shards_folder
from mlseg_dist.teachers.evaluated import EvaluationFacts
from mlseg_dist.teachers.of_bundle import is_bundle
from mlseg_dist.teachers.teacher import Teacher
from shards.manifest import Manifest, read_manifest


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = commands.add_parser("bundle")
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    parser.add_argument("--out", type=Path, metavar="DIR", required=True, help="a new folder, or an earlier bundle")
    parser.add_argument("--step", metavar="NAME", help="whose teacher; default: the last step with one")
    parser.add_argument("--json", action="store_true", help="what was made, for programs")
    parser.set_defaults(run=bundle)


def bundle(arguments: argparse.Namespace) -> int:
    """Write weights, ONNX, configuration, model card and predict.py."""
    if is_bundle(arguments.where):
        raise UserError("is a bundle already", arguments.where, "Name a run folder.")
    teacher = find_teacher(arguments.where, arguments.step)
    check_bundle_out(arguments.out)
    teacher.check_weights()
    corpus = read_manifest(shards_folder(teacher.place) / "manifest.json")
    made = make_bundle(
        teacher, corpus, _evaluation(teacher), _rounds(teacher), arguments.out, _evaluated(teacher, corpus)
    )
    facts = {"bundle": str(arguments.out), "step": teacher.config.step, **made}
    if arguments.json:
        print(json.dumps(facts, indent=1))
    else:
        print(
            f"{arguments.out}: {teacher.config.step} of {teacher.config.campaign}, {made['bytes'] / 1e6:.1f} MB; "
            f"ONNX differs from torch by {made['difference']:.1e} in logits"
        )
    return EXIT_DONE


def _evaluated(teacher: Teacher, corpus: Manifest) -> EvaluationFacts:
    """How the run evaluates this step."""
    run = find_run(teacher.place)
    config = run.config()
    subject = Subject(config, run.path, config.shards, slide_table(config, run))
    return EvaluationFacts(
        seed=config.seed,
        view_px=subject.view_px,
        overlap=config.evaluate.overlap,
        boundary_um=config.evaluate.boundary_um,
        majority=majority_class(corpus, config.training_classes),
    )


def _evaluation(teacher: Teacher) -> dict[str, Any] | None:
    """The campaign's own evaluation of these weights, else the one by hand with most splits."""
    run, step = teacher.place, teacher.config.step
    own = sorted((run / "phases").glob("[0-9][0-9]-evaluate/evaluation.json"))
    by_hand = sorted(evaluations_folder(run).glob("*/evaluation.json"))
    found = [one for one in map(_read, [*own, *by_hand]) if one is not None]
    usable = [one for one in found if one["teachers"].get(step, {}).get("sha256") == teacher.config.weights_sha256]
    usable = [one for one in usable if one["teachers"][step]["source"] != "command line"]
    return max(usable, key=lambda one: len(one["splits"]), default=None)


def _read(path: Path) -> dict[str, Any] | None:
    found = read_json(path)
    return found if isinstance(found, dict) and found.get("version") == VERSION and "teachers" in found else None


def _rounds(teacher: Teacher) -> list[Any]:
    """Facts of the rounds of labels that the step learnt from, its own last."""
    run = find_run(teacher.place)
    config = run.config()
    last = config.round_of(step_index(config, teacher.config.step)) or 0
    paths = [labels_folder(run.path, number) / "manifest.json" for number in range(1, last + 1)]
    return [read_json(path).get("facts", {}) for path in paths if path.is_file()]
