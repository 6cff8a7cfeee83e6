"""predict, evaluate, report: what a finished (or half-finished) campaign's teachers are asked for by hand."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from launch.campaign import load_where
from launch.config import CampaignConfig
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, UserError
from mlseg_core.files import read_json
from mlseg_core.own import refuse_foreign
from mlseg_core.progress import parse_tally
from mlseg_dist.whole_slide.opening import check_named
from shards.slide_table import slide_name


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = _command(commands, "predict", "heat map, class map and areas of one slide")
    parser.add_argument("slide", type=Path, help="any slide that OpenSlide opens")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/predictions/SLIDE")
    parser.add_argument("--step", metavar="NAME", help="whose teacher predicts; default: the last step with one")
    parser.add_argument("--mpp", type=float, help="µm/px of level 0, for a slide that does not say it")
    parser.add_argument("--mpp-override", action="store_true", help="the slide says its µm/px, but --mpp is right")
    parser.set_defaults(run=predict)
    parser = _command(
        commands, "evaluate", "score every step's teacher on a split, beside the campaign's own evaluation"
    )
    parser.add_argument("--split", required=True, action="append", metavar="NAME", help="for example final-unseen")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where evaluation.json and pictures go")
    parser.set_defaults(run=evaluate)
    parser = _command(commands, "report", "write the report of what there is so far")
    parser.set_defaults(run=report)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, text: str
) -> argparse.ArgumentParser:
    parser = commands.add_parser(name, help=text)
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    return parser


def _load(arguments: argparse.Namespace) -> tuple[CampaignConfig, RunFolder]:
    config = load_where(arguments.where, [])
    run = RunFolder.of(config)
    if not run.exists():
        raise UserError("no run folder yet", run.path, "Start the campaign first: mlseg run CONFIG.")
    return config, run


def predict(arguments: argparse.Namespace) -> int:
    """predict"""
    config, run = _load(arguments)
    step = _step(config, run, arguments.step)
    out = arguments.out or run.path / "predictions" / slide_name(arguments.slide)
    if arguments.mpp_override and arguments.mpp is None:
        raise UserError("--mpp-override without --mpp", "command line", "Add --mpp, the µm/px of level 0.")
    check_named(arguments.slide, config.shards.high_mpp, arguments.mpp, arguments.mpp_override)
    from mlseg_dist.predict import predict_slide

    summary = predict_slide(
        config,
        step,
        run.path,
        arguments.slide,
        out,
        arguments.mpp,
        arguments.mpp_override,
        config.shards.tissue,
        config.shards.audit,
    )
    areas = ", ".join(f"{name} {area:.2f} mm²" for name, area in summary["areas_mm2"].items())
    print(f"{summary['slide']} by {summary['step']}: tissue {summary['tissue_mm2']:.2f} mm²; {areas}")
    print(out / "heatmap.png")
    return EXIT_DONE


def step_index(config: CampaignConfig, name: str) -> int:
    """Of the step named with --step. Raises UserError."""
    names = [step.name for step in config.steps]
    if name not in names:
        raise UserError(f"no step {name!r}", "--step", f"There are: {', '.join(names)}.")
    return names.index(name)


def _step(config: CampaignConfig, run: RunFolder, name: str | None) -> int:
    """Index of the named step, or of the last one that has a teacher."""
    if name is not None:
        return step_index(config, name)
    names = [step.name for step in config.steps]
    taught = [i for i, step in enumerate(names) if list(run.path.glob(f"phases/[0-9][0-9]-{step}/teacher.json"))]
    if not taught:
        raise UserError("no step has a teacher yet", run.path, "Let the first training phase finish.")
    return taught[-1]


def evaluate(arguments: argparse.Namespace) -> int:
    """evaluate"""
    config, run = _load(arguments)
    from mlseg_core.config import validate
    from mlseg_dist.config import EvaluateConfig
    from mlseg_dist.evaluation import evaluate as score

    settings = {**config.evaluate.model_dump(mode="json"), "splits": arguments.split}
    config = config.model_copy(update={"evaluate": validate(settings, EvaluateConfig, "--split")})
    _refuse_foreign_scores(arguments.out, arguments.split)
    score(config, run.path, arguments.out)
    print(arguments.out / "evaluation.json")
    return EXIT_DONE


def _refuse_foreign_scores(out: Path, splits: Sequence[str]) -> None:
    """What evaluate writes is not to take the place of somebody's files. Its tally, written first, and its scores vouch for it."""
    scores, tally = out / "evaluation.json", out / "progress" / "0.json"
    pictures = [path for split in splits for path in (out / "pictures").glob(f"{split}-[0-9]*.png")]

    def is_ours(path: Path) -> bool:
        found = read_json(path)
        return isinstance(found, dict) and found.keys() >= {"version", "classes", "steps", "corpus_sha256"}

    def is_tally(path: Path) -> bool:
        return parse_tally(path.read_bytes()) is not None

    refuse_foreign([scores], is_ours)
    refuse_foreign([tally], is_tally)
    refuse_foreign(pictures, lambda path: scores.exists() or tally.exists())


def report(arguments: argparse.Namespace) -> int:
    """report"""
    config, run = _load(arguments)
    from mlseg_dist import report as pages
    from mlseg_dist.report.table import print_table

    phases = sorted((run.path / "phases").glob("[0-9][0-9]-report"))
    pages.write(config, run.path, phases[0] if phases else run.path / "phases" / "report")
    print_table(run.path)
    return EXIT_DONE
