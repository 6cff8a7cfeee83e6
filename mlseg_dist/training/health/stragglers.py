"""Ranks whose own work takes longer than the others': in a synchronous job one slow GPU or disk slows every rank."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import torch

WINDOWS = 3
"""So many windows in a row make a straggler, and its recovery: one slow read, a cold cache or a neighbour's burst makes one
window slow and is nothing to act on."""

STEPS = 10
"""Least optimizer steps of a window: a single one is short enough for any hiccup to look slow."""


class Busy:
    """Seconds of a rank's own work in a window: waiting for data, and forward. Never time in collectives, which is that of
    the slowest rank on all of them. The with-block is forward; on CUDA events time it, read when the window is taken."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._seconds = 0.0
        self._events: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []

    def add(self, seconds: float) -> None:
        """Time that somebody else has taken, such as a batch's wait."""
        self._seconds += seconds

    def __enter__(self) -> Self:
        if self._cuda:
            self._begun_on_device = torch.cuda.Event(enable_timing=True)
            self._begun_on_device.record()
        else:
            self._begun = time.perf_counter()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._cuda:
            end = torch.cuda.Event(enable_timing=True)
            end.record()
            self._events.append((self._begun_on_device, end))
        else:
            self._seconds += time.perf_counter() - self._begun

    def take(self) -> float:
        """Seconds since the last take. On CUDA waits until the device has done the last forward."""
        seconds = self._seconds
        if self._events:
            self._events[-1][1].synchronize()
            seconds += sum(begin.elapsed_time(end) for begin, end in self._events) / 1000
        self._seconds, self._events = 0.0, []
        return seconds


@dataclass(frozen=True)
class Pace:
    """A rank that has become a straggler, or (slow = False) is none any more."""

    rank: int
    host: str
    busy_s: float
    median_s: float
    slow: bool

    @property
    def text(self) -> str:
        who, ratio = f"rank {self.rank} on {self.host}", self.busy_s / self.median_s
        if not self.slow:
            return f"{who} keeps up again: its own work takes {ratio:.1f} times the median"
        seconds = f"{self.busy_s:.2f} s against {self.median_s:.2f} s a window"
        return f"{who} holds the others up: its own work takes {ratio:.1f} times the median ({seconds})"


class Stragglers:
    """judge() once a window, on one rank. straggler: HealthConfig.straggler."""

    def __init__(self, straggler: float, windows: int = WINDOWS) -> None:
        self._limit, self._windows = straggler, windows
        self._slow: set[int] = set()
        self._in_a_row: dict[int, int] = {}
        self._begun, self._sums = 0, list[float]()

    def judge_lines(self, step: int, busy: Sequence[float], hosts: Sequence[str]) -> list[Pace]:
        """As judge(), called after each line of metrics: lines of less than STEPS steps are put together to one window."""
        if step < self._begun:  # training went back
            self._begun, self._sums = step, []
        self._sums = [mine + before for mine, before in zip(busy, self._sums or [0.0] * len(busy), strict=True)]
        if step - self._begun < STEPS:
            return []
        window, self._begun, self._sums = self._sums, step, []
        return self.judge(window, hosts)

    def judge(self, busy: Sequence[float], hosts: Sequence[str]) -> list[Pace]:
        """busy: seconds of each rank's own work in the window. hosts: of each rank. Returns what has changed.

        With one or two ranks the median is that of the other ones: a rank must not be measured by itself.
        """
        changed = []
        for rank, seconds in enumerate(busy):
            among = busy if len(busy) > 2 else [s for r, s in enumerate(busy) if r != rank]
            median = statistics.median(among) if among else 0.0
            if median <= 0:
                continue
            slow = seconds > self._limit * median
            self._in_a_row[rank] = self._in_a_row.get(rank, 0) + 1 if slow != (rank in self._slow) else 0
            if self._in_a_row[rank] >= self._windows:
                self._in_a_row[rank] = 0
                self._slow ^= {rank}
                changed.append(Pace(rank, hosts[rank], seconds, median, slow))
        return changed
