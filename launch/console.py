"""What the terminal shows while a campaign runs here: a live bar on a terminal, a line every ten seconds in a log."""

import sys
import time
from pathlib import Path

from rich.console import Console as RichConsole
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from launch.graph import Phase
from mlseg_core.progress import Tally, clock, describe

_EVERY_S = 10.0
_LAST_LINES = 15


class Console:
    """Progress of the phases of one campaign."""

    def __init__(self) -> None:
        self.rich = RichConsole(highlight=False, soft_wrap=True)
        self._live: Progress | None = None
        self._task: TaskID | None = None
        self._label, self._printed, self._begun = "", 0.0, 0.0

    def begin(self, phase: Phase, total: int) -> None:
        self.close()
        self._label, self._printed = f"[{phase.number + 1}/{total}] {phase.name}", time.monotonic()
        self._begun = self._printed
        if not self.rich.is_terminal:
            print(f"{self._label} …", flush=True)
            return
        self._live = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rest]}"),
            TimeElapsedColumn(),
            console=self.rich,
            transient=True,
        )
        self._task = self._live.add_task(escape(self._label), total=None, rest="starting")
        self._live.start()

    def update(self, phase: Phase, tally: Tally | None) -> None:
        if tally is None:
            return
        if self._live is not None and self._task is not None:
            eta = f"ETA {clock(tally.eta_s)}" if tally.eta_s is not None else ""
            rest = f"{tally.unit}  {tally.rate:.1f}/s  {eta}  {tally.note}"
            self._live.update(self._task, completed=tally.done, total=tally.total, rest=escape(rest))
        elif time.monotonic() - self._printed > _EVERY_S:
            self._printed = time.monotonic()
            print(describe(self._label, tally), flush=True)

    def end(self, phase: Phase) -> None:
        self.close()
        print(f"{self._label} done in {clock(time.monotonic() - self._begun)}", flush=True)

    def note(self, text: str) -> None:
        self.rich.print(escape(text))

    def fail(self, phase: Phase, error: str, log: Path | None) -> None:
        """Say on stderr what went wrong, with the end of the log and its path."""
        self.close()
        first, is_user_error = error.split("\n")[0], error.startswith("error: ")
        if log is not None and not is_user_error and log.exists():
            lines = log.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            print("\n".join(f"  | {line}" for line in lines), file=sys.stderr)
        where = f" (log: {log})" if log is not None else ""
        print(f"mlseg: error: phase {phase.name}: {first.removeprefix('error: ')}{where}", file=sys.stderr, flush=True)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
        self._live = None
