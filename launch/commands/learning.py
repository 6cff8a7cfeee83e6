"""predict, report: what a person asks of a campaign that is finished or half done."""

import argparse
from pathlib import Path

from launch.campaign import load_where
from launch.config import CampaignConfig
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, UserError
from mlseg_core.own import check_folder
from mlseg_dist.whole_slide.opening import check_named
from shards.slide_table import slide_name


def add(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add this group's subcommands."""
    parser = run_command(commands, "predict")
    parser.add_argument("slide", type=Path, help="any slide that OpenSlide opens")
    parser.add_argument("--out", type=Path, metavar="DIR", help="default: RUN/predictions/SLIDE")
    parser.add_argument("--step", metavar="NAME", help="whose teacher predicts; default: the last step with one")
    parser.add_argument("--mpp", type=float, help="µm/px of level 0, for a slide that does not say it")
    parser.add_argument("--mpp-override", action="store_true", help="the slide says its µm/px, but --mpp is right")
    parser.set_defaults(run=predict)
    parser = run_command(commands, "report")
    parser.add_argument(
        "--single-file", action="store_true", help="one page that contains its pictures, report/report.html, to pass on"
    )
    parser.set_defaults(run=report)


def run_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str) -> argparse.ArgumentParser:
    """A subcommand that takes a run."""
    parser = commands.add_parser(name)
    parser.add_argument("where", type=Path, metavar="RUN", help="run folder, or the config that it was made from")
    return parser


def load_run(arguments: argparse.Namespace) -> tuple[CampaignConfig, RunFolder]:
    """The run that a person named. Raises UserError."""
    config = load_where(arguments.where, [])
    run = RunFolder.of(config)
    if not run.exists():
        raise UserError("no run folder yet", run.path, "Start the campaign first: mlseg run CONFIG.")
    return config, run


def predict(arguments: argparse.Namespace) -> int:
    """predict"""
    config, run = load_run(arguments)
    step = _step(config, run, arguments.step)
    out = arguments.out or run.path / "predictions" / slide_name(arguments.slide)
    if arguments.mpp_override and arguments.mpp is None:
        raise UserError("--mpp-override without --mpp", "command line", "Add --mpp, the µm/px of level 0.")
    check_folder(out, "Name another folder with --out.")
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
    """Index of the step named with --step. Raises UserError."""
    names = [step.name for step in config.steps]
    if name not in names:
        raise UserError(f"no step {name!r}", "--step", f"There are: {', '.join(names)}.")
    return names.index(name)


def _step(config: CampaignConfig, run: RunFolder, name: str | None) -> int:
    """Index of the named step, or of the campaign's own last one that has a teacher."""
    if name is not None:
        return step_index(config, name)
    names = [step.name for step in config.own_steps]
    taught = [i for i, step in enumerate(names) if list(run.path.glob(f"phases/[0-9][0-9]-{step}/teacher.json"))]
    if not taught:
        raise UserError("no step has a teacher yet", run.path, "Let the first training phase finish.")
    return taught[-1]


def report(arguments: argparse.Namespace) -> int:
    """report"""
    config, run = load_run(arguments)
    from mlseg_dist import report as pages
    from mlseg_dist.report.table import print_table

    phases = sorted((run.path / "phases").glob("[0-9][0-9]-report"))
    phase = phases[0] if phases else run.path / "phases" / "report"
    page = pages.write(config, run.path, phase, single_file=arguments.single_file)
    print_table(run.path, page=page.name)
    return EXIT_DONE
