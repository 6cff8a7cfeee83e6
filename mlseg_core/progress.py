"""Progress that people watch: units done, pieces, rates, ETA, failures.


A worker keeps one small JSON file, its tally, up to date. Whoever shows progress adds up the tallies of all workers:
a live bar on a terminal, a line now and then in a log.
"""

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from mlseg_core.files import write_atomic

_log = logging.getLogger(__name__)


_SILENT_S = 300.0  # a worker that says nothing for so long adds nothing to the rates


@dataclass
class Tally:
    """Where the work stands: `done` of `total` units, this worker's rate in units/s; `note` is free text (loss, slide).

    A map adds: cost of the units (what the ETA goes by), pieces (pairs) in finished units and in the unit at hand, units
    that failed, `at`: the unit at hand, `plan`: hash of all units, `ended`: the worker has left in good order, `proven`: the
    worker's slice, once its records have been read and found good.
    """

    unit: str
    done: int
    total: int
    rate: float
    note: str
    updated: float
    cost_done: float = 0.0
    cost_total: float = 0.0
    cost_rate: float = 0.0
    piece_unit: str = ""
    pieces: int = 0
    pieces_at_hand: int = 0
    piece_rate: float = 0.0
    failed: int = 0
    at: str = ""
    plan: str = ""
    ended: bool = False
    proven: str = ""

    @property
    def eta_s(self) -> float | None:
        if self.cost_total:
            return (self.cost_total - self.cost_done) / self.cost_rate if self.cost_rate > 0 else None
        return (self.total - self.done) / self.rate if self.rate > 0 else None

    @property
    def fraction(self) -> float:
        """0 to 1, by cost when it is known."""
        done, total = (self.cost_done, self.cost_total) if self.cost_total else (self.done, self.total)
        return min(1.0, done / total) if total else 1.0


class Progress:
    """Counts units. path: where the tally goes, or save: what stores its text. every_s: seconds between log lines."""

    def __init__(
        self,
        label: str,
        total: int,
        unit: str,
        path: Path | None = None,
        every_s: float = 10.0,
        done: int = 0,
        *,
        save: Callable[[str], None] | None = None,
        save_every_s: float = 1.0,
        prints: bool = True,
    ):
        self.label, self.every_s, self.save_every_s, self.prints = label, every_s, save_every_s, prints
        self.save = save if path is None else lambda text: write_atomic(path, text)
        self.tally = Tally(unit, done, total, 0.0, "", time.time())
        self._start = time.monotonic()
        self._units, self._pieces, self._cost = 0, 0, 0.0  # what this process has done itself
        self._printed = self._saved = 0.0

    def advance(self, units: int = 1, note: str | None = None) -> None:
        self.tally.done += units
        self._units += units
        if note is not None:
            self.tally.note = note
        self.report()

    def begin(self, unit: str) -> None:
        """From now on at this unit. Saved at once: whoever finds the tally of a dead worker sees what it died of."""
        self.tally.at = self.tally.note = unit
        self.report(save=True)

    def advance_pieces(self, pieces: int) -> None:
        """pieces of the unit at hand are done."""
        self.tally.pieces_at_hand += pieces
        self._pieces += pieces
        self.report()

    def finished(self, cost: float) -> None:
        """This process has done the unit at hand."""
        self._units += 1
        self._cost += cost

    def place(self, **figures: Any) -> None:
        """Fields of the tally that count what all workers have done."""
        for name, value in figures.items():
            setattr(self.tally, name, value)
        self.report()

    def finish(self) -> None:
        self.tally.at, self.tally.ended = "", True
        self.report(save=True, show=True)

    def report(self, save: bool = False, show: bool = False) -> None:
        """Save and print when it is time to, or when told."""
        now = time.monotonic()
        elapsed = max(now - self._start, 1e-9)
        self.tally.rate, self.tally.piece_rate = self._units / elapsed, self._pieces / elapsed
        self.tally.cost_rate = self._cost / elapsed
        self.tally.updated = time.time()
        if self.save is not None and (save or now - self._saved > self.save_every_s):
            self._saved = now
            try:
                self.save(json.dumps(asdict(self.tally)))
            except Exception:  # noqa: S110  (progress is never a reason to stop, whatever a store raises)
                pass
        if self.prints and (show or now - self._printed > self.every_s):
            self._printed = now
            _log.info(describe(self.label, self.tally))


class Display:
    """What one person sees of many workers: a live bar on a terminal, a line every every_s seconds in a log."""

    def __init__(self, label: str, console: Console | None = None, every_s: float = 10.0) -> None:
        self.label, self._every_s, self._printed = label, every_s, time.monotonic()
        self._bar: Bar | None = None
        console = console or Console(highlight=False, soft_wrap=True)
        if console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=16), _Rest())
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task(escape(label), total=None, rest="starting")
            self._bar.start()

    def update(self, tally: Tally | None) -> None:
        if tally is None:
            return
        if self._bar is not None:
            self._bar.update(self._task, completed=tally.fraction, total=1.0, rest=_figures(tally))
        elif time.monotonic() - self._printed > self._every_s:
            self._printed = time.monotonic()
            _log.info(describe(self.label, tally))

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None


class _Rest(ProgressColumn):
    """The figures; cut off, not wrapped, on a narrow terminal."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["rest"], no_wrap=True, overflow="ellipsis")


def describe(label: str, tally: Tally) -> str:
    """One line: `label  12/500 slides  48,210 pairs  212 pairs/s  ETA 0:08  2 failed  note`."""
    return f"{label}  {_figures(tally)}".strip()


def _figures(tally: Tally) -> str:
    parts = [f"{tally.done:,}/{tally.total:,} {tally.unit}"]
    pieces = tally.pieces + tally.pieces_at_hand
    if pieces:
        parts += [f"{pieces:,} {tally.piece_unit}", f"{_rate(tally.piece_rate)} {tally.piece_unit}/s"]
    else:
        parts.append(f"{_rate(tally.rate)}/s")
    if tally.eta_s is not None and tally.done + tally.failed < tally.total:
        parts.append(f"ETA {clock(tally.eta_s)}")
    if tally.failed:
        parts.append(f"{tally.failed} failed")
    return "  ".join([*parts, tally.note]).rstrip()


def _rate(per_second: float) -> str:
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.1f}"


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss or m:ss."""
    minutes, second = divmod(int(max(0, seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"


def parse_tally(text: str | bytes) -> Tally | None:
    """None when it is no tally of this version."""
    try:
        return Tally(**json.loads(text))
    except (ValueError, TypeError):
        return None


def read_tallies(folder: Path) -> list[Tally]:
    """The tallies in a folder; a file that cannot be read counts as absent."""
    tallies = []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            tallies.append(parse_tally(path.read_bytes()))
        except OSError:
            continue
    return [tally for tally in tallies if tally is not None]


def add_up(tallies: Iterable[Tally]) -> Tally | None:
    """One tally for all workers of a map; None when there are none. Each worker knows what all have finished, none what
    the others have at hand: so the largest of the former, the sum of the latter and of the rates."""
    tallies = list(tallies)
    if not tallies:
        return None
    newest = max(tallies, key=lambda tally: tally.updated)
    same = [tally for tally in tallies if tally.plan == newest.plan]
    furthest = max(same, key=lambda tally: tally.done)
    live = [tally for tally in same if not tally.ended and time.time() - tally.updated < _SILENT_S]
    return replace(
        newest,
        done=furthest.done,
        cost_done=furthest.cost_done,
        cost_total=furthest.cost_total,
        pieces=max(tally.pieces for tally in same),
        pieces_at_hand=sum(tally.pieces_at_hand for tally in live),
        failed=max(tally.failed for tally in same),
        rate=sum(tally.rate for tally in live),
        cost_rate=sum(tally.cost_rate for tally in live),
        piece_rate=sum(tally.piece_rate for tally in live),
    )
