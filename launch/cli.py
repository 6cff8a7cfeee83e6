"""The `mlseg` command. Exit status: 0 done, 1 failed, 2 the user's mistake (one line), 75 interrupted, to be continued."""

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from mlseg_core.errors import EXIT_INTERRUPTED, Interrupted, UserError, exit_status, for_a_person

GROUPS = (
    "campaign",
    "clean",
    "preflight",
    "rehearse",
    "plan",
    "sweep",
    "status",
    "names",
    "tracking",
    "shards",
    "learning",
    "evaluate",
    "model",
    "augment",
    "style",
)
"""Modules of launch.commands, in the order in which `mlseg --help` lists them."""


def main(words: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="mlseg",
        description="Distributed training for tissue segmentation: shards, self-training campaigns, reports.",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for group in GROUPS:
        importlib.import_module(f"launch.commands.{group}").add(commands)
    arguments, rest = parser.parse_known_args(words)
    if rest:  # overrides that come after an option
        if not hasattr(arguments, "overrides") or any(word.startswith("-") or "=" not in word for word in rest):
            parser.error(f"unrecognized arguments: {' '.join(rest)}")
        arguments.overrides = [*arguments.overrides, *rest]
    try:
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


if __name__ == "__main__":
    sys.exit(main())
