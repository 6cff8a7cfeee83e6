"""What the terminal shows while a campaign runs here: a live bar on a terminal, a line every ten seconds in a log."""

import sys
import time
from pathlib import Path

from rich.console import Console as RichConsole
from rich.markup import escape

from launch.graph import Phase
from launch.phase_time import Took
from mlseg_core.progress import Display, Tally, clock

_LAST_LINES = 15
_MARK_CHARS = 120
"""An error's beginning, by which its line in the log is known: state.json may cut it short."""


class Console:
    """Progress of the phases of one campaign."""

    def __init__(self) -> None:
        self.rich = RichConsole(highlight=False, soft_wrap=True)
        self._display: Display | None = None
        self._label, self._begun = "", 0.0

    def begin(self, phase: Phase, total: int) -> None:
        self.close()
        self._label, self._begun = f"[{phase.number + 1}/{total}] {phase.name}", time.monotonic()
        if not self.rich.is_terminal:
            print(f"{self._label} …", flush=True)
        self._display = Display(self._label, self.rich)

    def update(self, phase: Phase, tally: Tally | None) -> None:
        if self._display is not None:
            self._display.update(tally)

    def end(self, phase: Phase, took: Took | None) -> None:
        """took: by the whole phase, with what earlier starts did of it."""
        self.close()
        print(f"{self._label} done {took or f'in {clock(time.monotonic() - self._begun)}'}", flush=True)

    def note(self, text: str) -> None:
        self.rich.print(escape(text))

    def fail(self, phase: Phase, error: str, log: Path | None) -> None:
        """Say on stderr what went wrong, once, after the end of the log that shows where; with the log's path."""
        self.close()
        first, is_user_error = error.split("\n")[0], error.startswith("error: ")
        if log is not None and not is_user_error and log.exists():
            lines = log.read_text(errors="replace").rstrip().splitlines()
            shown = [line for line in lines if first[:_MARK_CHARS] not in line][-_LAST_LINES:]
            print("\n".join(f"  | {line}" for line in shown), file=sys.stderr)
        where = f" (log: {log})" if log is not None else ""
        print(f"mlseg: error: phase {phase.name}: {first.removeprefix('error: ')}{where}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._display is not None:
            self._display.close()
        self._display = None
