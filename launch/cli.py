"""The `mlseg` command. Exit status: 0 done, 1 failed, 2 the user's mistake (one line), 75 interrupted, to be continued."""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from launch.version import ShowVersion
from mlseg_core.errors import EXIT_INTERRUPTED, Interrupted, UserError, exit_status, for_a_person
from mlseg_core.files import find_shipped
from mlseg_core.logs import log_as_command

COMMANDS = {
    "init": ("init", "lay out a working folder: configs, slurm/master.sh, a README"),
    "demo": ("campaign", "a small campaign on synthetic slides, in minutes on two cores"),
    "run": ("campaign", "start or continue a campaign: on SLURM where sbatch is, else on this machine"),
    "resume": ("campaign", "continue a campaign from its run folder"),
    "retry": ("campaign", "do a failed phase, and what depends on it, again"),
    "cancel": ("campaign", "end a campaign's jobs; `run` continues it later"),
    "clean": ("clean", "remove labels and styled views that no phase will read again, or what was set aside"),
    "preflight": ("preflight", "check config, data, disk, SLURM and Python before anything queues"),
    "rehearse": (
        "rehearse",
        "the campaign with 20 steps a phase and 1% of the slides, incl. a requeue; measures rates",
    ),
    "plan": ("plan", "the phases, and what each will take; changes nothing"),
    "sweep": ("sweep", "a campaign with many settings and seeds, and a table of what they gave"),
    "status": ("status", "where a campaign stands"),
    "names": ("names", "who slide-0001 or patient-0001 of a report is"),
    "lineage": ("lineage", "where a sample comes from, and what each round of labels said about it"),
    "wandb-follow": ("tracking", "show a campaign on W&B, live, from where the internet is"),
    "shards": ("shards", "slides in, tar shards out"),
    "predict": ("predict", "maps that QuPath opens, regions, areas and a picture of slides; here or on SLURM"),
    "bundle": ("bundle", "a teacher for others: weights, ONNX, model card, predict.py"),
    "report": ("learning", "write the report of what there is so far"),
    "evaluate": (
        "evaluate",
        "figures of a run's teachers, or of a bundle on your own slides; every annotated pixel once",
    ),
    "review": ("review", "which regions people should annotate next, for QuPath"),
    "model": ("model", "parameters, multiply-adds, memory and time of networks, side by side"),
    "augment": ("augment", "augmentation of a campaign"),
    "style": ("style", "patches in the styles of other scanners or data sources (gan_style)"),
}
"""Command -> its module of launch.commands and what `mlseg --help` says of it. Only the module that is asked for is loaded."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    log_as_command()
    parser = argparse.ArgumentParser(
        prog="mlseg",
        description="Distributed training for tissue segmentation: shards, self-training campaigns, reports.",
    )
    parser.add_argument("--version", action=ShowVersion)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    words = sys.argv[1:] if words is None else words
    _add_commands(commands, next((word for word in words if not word.startswith("-")), ""))
    try:
        arguments, rest = parser.parse_known_args(words)
        if rest:  # overrides that come after an option
            if not hasattr(arguments, "overrides") or any(word.startswith("-") or "=" not in word for word in rest):
                parser.error(f"unrecognized arguments: {' '.join(rest)}")
            arguments.overrides = [*arguments.overrides, *rest]
        _find_configs(arguments)
        return int(arguments.run(arguments))
    except UserError as error:
        print(f"mlseg: error: {error}", file=sys.stderr)
        return exit_status(error)
    except (Interrupted, KeyboardInterrupt) as error:
        print(f"mlseg: interrupted{f': {error}' if str(error) else ''}; start again to continue", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # `mlseg status | head` is no failure
        return 0
    except Exception as error:
        if os.environ.get("MLSEG_TRACEBACK"):
            traceback.print_exc()
        said = for_a_person(error) or f"{type(error).__name__}: {error} (MLSEG_TRACEBACK=1 shows where)"
        print(f"mlseg: error: {said}", file=sys.stderr)
        return exit_status(error)


def _add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]", asked: str) -> None:
    """All commands, so that --help and a misspelt one list them; options only of the module that has `asked`."""
    group = COMMANDS[asked][0] if asked in COMMANDS else None
    for name, (module, about) in COMMANDS.items():
        if module != group:
            commands.add_parser(name, help=about.replace("%", "%%"))
    if group is not None:
        importlib.import_module(f"launch.commands.{group}").add(commands)


def _find_configs(arguments: argparse.Namespace) -> None:
    """`configs/…`, from wherever in a project it is said."""
    for name, value in vars(arguments).items():
        if isinstance(value, str | Path) and str(value).startswith("configs/"):
            setattr(arguments, name, type(value)(find_shipped(str(value), Path())))
        elif isinstance(value, list):
            found = [str(find_shipped(word, Path())) if isinstance(word, str) else word for word in value]
            setattr(arguments, name, found)


if __name__ == "__main__":
    sys.exit(main())
