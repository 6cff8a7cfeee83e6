"""Progress that people watch: phase, units done, rate, ETA.

A worker keeps one small JSON file up to date; whoever shows progress (the local runner, `mlseg status`) adds up the
files of a phase. A worker that stands alone on a terminal shows a bar itself; in a log it prints a line now and then.
"""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from mlseg_core.files import write_atomic


@dataclass
class Tally:
    """What one worker has done: `done` of `total` units, at `rate` units/s; `note` is free text (loss, slide)."""

    unit: str
    done: int
    total: int
    rate: float
    note: str
    updated: float

    @property
    def eta_s(self) -> float | None:
        return (self.total - self.done) / self.rate if self.rate > 0 else None


class Progress:
    """Counts units. path: where the tally goes (None: nowhere). every_s: seconds between log lines."""

    def __init__(
        self, label: str, total: int, unit: str, path: Path | None = None, every_s: float = 10.0, done: int = 0
    ):
        self.label, self.path, self.every_s = label, path, every_s
        self.tally = Tally(unit, done, total, 0.0, "", time.time())
        self._first, self._start = done, time.monotonic()
        self._printed = self._written = 0.0

    def advance(self, units: int = 1, note: str | None = None) -> None:
        self.tally.done += units
        if note is not None:
            self.tally.note = note
        self._report()

    def finish(self) -> None:
        self._report(force=True)

    def _report(self, force: bool = False) -> None:
        now = time.monotonic()
        elapsed = now - self._start
        self.tally.rate = (self.tally.done - self._first) / elapsed if elapsed > 0 else 0.0
        self.tally.updated = time.time()
        if self.path is not None and (force or now - self._written > 1.0):
            self._written = now
            try:
                write_atomic(self.path, json.dumps(asdict(self.tally)))
            except OSError:
                pass  # progress is never a reason to stop
        if force or now - self._printed > self.every_s:
            self._printed = now
            print(describe(self.label, self.tally), flush=True)


def describe(label: str, tally: Tally) -> str:
    """One line: `label  120/400 pairs  35.2/s  ETA 0:08  note`."""
    eta = f"  ETA {clock(tally.eta_s)}" if tally.eta_s is not None and tally.done < tally.total else ""
    return f"{label}  {tally.done}/{tally.total} {tally.unit}  {tally.rate:.1f}/s{eta}  {tally.note}".rstrip()


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, second = divmod(int(max(0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def read_tallies(folder: Path) -> list[Tally]:
    """The tallies in a folder; a file that cannot be read counts as absent."""
    tallies = []
    for path in sorted(folder.glob("*.json")):
        try:
            tallies.append(Tally(**json.loads(path.read_text())))
        except (OSError, ValueError, TypeError):
            continue
    return tallies
