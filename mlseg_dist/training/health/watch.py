"""Names a rank that stands still, and ends the job when it goes on: heartbeats in, events and stacks out.


The watch thread needs the interpreter now and then, as the main thread leaves it in every collective, read and kernel. An
extension that never gives it back stops this rank's heartbeats: the others name it and end; its own stacks go to stderr by a
timer of faulthandler's that needs no interpreter. Alone in its job such a rank stands until the time limit.
"""

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from mlseg_core.errors import EXIT_FAILED
from mlseg_core.files import write_atomic
from mlseg_core.node import node_name
from mlseg_dist.config import HealthConfig
from mlseg_dist.events import LogEvent, read_events
from mlseg_dist.training.health import process
from mlseg_dist.training.health.beats import Beat, Beats, Seen, keep_signals_out
from mlseg_dist.training.health.pulse import Pulse
from mlseg_dist.training.health.verdict import Verdict, judge, sentence

_log = logging.getLogger(__name__)


_DISK_S = 5.0  # a file system that hangs may be why ranks stand still: it must not hang the watch
T = TypeVar("T")


class Ranks(Protocol):
    """What is asked of engine.World."""

    @property
    def rank(self) -> int: ...
    @property
    def size(self) -> int: ...


def exit_now(text: str) -> None:
    """Ends the process though its main thread is stuck: no handlers, no flushing of what others hold."""
    print(f"mlseg: {text}", file=sys.stderr, flush=True)
    os._exit(EXIT_FAILED)


class Watch:
    """Make it on every rank before the first step; begin() after that step, end() (or leave the with-block) at the end.

    give_up: called from the watch's thread with a sentence for people, once stacks are written; it ends the process.
    host: this rank's node, default SLURM's name of it or the system's. Processes of one host see each other in /proc.
    """

    def __init__(
        self,
        pulse: Pulse,
        world: Ranks,
        health: HealthConfig,
        phase: Path,
        log_event: LogEvent,
        give_up: Callable[[str], object] = exit_now,
        host: str = "",
    ) -> None:
        self.health, self.world, self.phase, self.pulse, self.log_event = health, world, phase, pulse, log_event
        self.host = host or node_name()
        self._give_up, self._pid, self._born = give_up, os.getpid(), process.born(os.getpid())
        self._dumped, self._ending = False, ""
        self._awake = time.monotonic()  # since when this process has not stood still as a whole
        self._told: dict[int, tuple[int, int]] = {}  # rank -> its place when this rank named it
        self._told_all: tuple[int, int] | None = None
        self._events_of_0: int | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlseg-watch", daemon=True)
        self.beats: Beats | None = None
        if health.enabled:
            prefix = f"mlseg-health/{phase.name}"
            try:
                self.beats = Beats(world.rank, world.size, prefix, health.beat_s, self._beat, self._woke)
            except (RuntimeError, OSError, KeyError) as error:
                log_event(
                    "watch-off", f"rank {world.rank} cannot reach the job's store, it is not watched: {error!s:.200}"
                )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.end()

    def begin(self) -> None:
        """Start to watch; no later than name_after_s after the other ranks. The second call does nothing."""
        if self.beats and self._thread.ident is None:
            self._awake = time.monotonic()
            self.beats.start()
            self._thread.start()

    def end(self) -> None:
        """The main thread is done or has failed: stop watching. If the job is being given up, wait for that instead."""
        if not self.beats or self._stop.is_set():
            return
        while self._ending and self._thread.is_alive():
            self._thread.join(1)
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(2)
        self.beats.leave()
        faulthandler.cancel_dump_traceback_later()

    def _beat(self, number: int) -> Beat:
        place, now = self.pulse.place, time.monotonic()
        still = round(now - max(place.since, self._awake), 2)
        facts = self.host, self._pid, self._born, place.stage, place.step, place.stages, still
        return Beat(number, *facts, ending=self._ending, dumped=self._dumped)

    def _woke(self, late_s: float) -> None:
        """Stopped and continued, or starved: this process cannot tell what the others, or its own main thread, did meanwhile."""
        if self.beats and late_s > self.health.name_after_s / 2:
            self._awake = time.monotonic()
            self.beats.forget()

    def _run(self) -> None:
        assert self.beats
        keep_signals_out()
        began = time.monotonic()
        while not self._stop.wait(self.health.beat_s):
            self._woke(time.monotonic() - began - self.health.beat_s)
            if sys.__stderr__:
                faulthandler.dump_traceback_later(2 * self.health.end_after_s, file=sys.__stderr__)
            ending = self._look(self.beats)
            if ending:
                self._end_job(self.beats, ending)
                return
            began = time.monotonic()

    def _look(self, beats: Beats) -> str:
        """Name who stands still; say why the job has to end, or nothing."""
        seen = beats.seen()
        if beats.alone:
            return self._look_alone(seen)
        called = [s.beat.ending for s in seen if s.beat.ending]
        if called:
            return called[0]
        store_silent = beats.store_silent_s
        if store_silent > beats.trust_s:
            return self._look_at_store(seen, store_silent)
        self._events_of_0 = None
        self._tell_returns(seen, beats.trust_s)
        verdict = judge(seen, self.health.name_after_s, beats.trust_s)
        if not verdict:
            return ""
        if self._teller(verdict, seen, beats.trust_s) == self.world.rank:
            self._name(verdict)
        return self._reason(verdict) if verdict.for_s >= self.health.end_after_s else ""

    def _look_alone(self, seen: list[Seen]) -> str:
        """Rank 0 has left: only this rank's own main thread can be judged."""
        keeper = next(s for s in seen if s.rank == 0)
        verdict = judge([keeper, Seen(self.world.rank, self._beat(0), 0.0)], self.health.name_after_s, 1.0)
        if verdict and self.world.rank == 1:
            self._name(verdict)
        return self._reason(verdict) if verdict and verdict.for_s >= self.health.end_after_s else ""

    def _look_at_store(self, seen: list[Seen], silent_s: float) -> str:
        """The store does not answer, so nothing is known of anybody, and rank 0, which keeps it, is the one to be named."""
        keeper = next((s for s in seen if s.rank == 0), None)
        if keeper is None or keeper.beat.left:
            return ""
        if self._events_of_0 is None:
            self._events_of_0 = self._count_events_of_0()
        verdict = Verdict("silent", (keeper,), silent_s)
        # One rank a host, that of rank 0 first. Each gives those before it two heartbeats' time: they may be lost as well.
        first_of = {s.beat.host: s.rank for s in reversed(seen) if s.rank != 0 and not s.beat.left}
        tellers = sorted(first_of.values(), key=lambda rank: (rank != first_of.get(keeper.beat.host), rank))
        if self.world.rank in tellers:
            turn = tellers.index(self.world.rank)
            due = silent_s >= self.health.name_after_s + turn * 2 * self.health.beat_s
            if due and 0 not in self._told and (turn == 0 or self._count_events_of_0() == self._events_of_0):
                self._name(verdict)
        return self._reason(verdict) if silent_s >= self.health.end_after_s else ""

    def _count_events_of_0(self) -> int:
        def count() -> int:
            return sum(e.get("event") == "stuck" and e.get("rank") == 0 for e in read_events(self.phase))

        return _within(_DISK_S, count) or 0

    def _teller(self, verdict: Verdict, seen: list[Seen], trust_s: float) -> int:
        """Who names: the rank itself while its heart beats, else the lowest living rank of its host, else of the job."""
        culprit = verdict.ranks[0]
        living = [s for s in seen if not s.beat.left and s.silent_s < trust_s]
        if culprit.rank in [s.rank for s in living]:
            return culprit.rank
        near = [s.rank for s in living if s.beat.host == culprit.beat.host]
        return min(near or [s.rank for s in living] or [self.world.rank])

    def _name(self, verdict: Verdict) -> None:
        """Once for each standstill."""
        first = verdict.ranks[0]
        if verdict.kind == "all-wait":
            place = first.beat.step, first.beat.stages
            fresh, self._told_all = place != self._told_all, place
        else:
            places = {s.rank: (s.beat.step, s.beat.stages) for s in verdict.ranks}
            fresh = any(self._told.get(rank) != place for rank, place in places.items())
            self._told.update(places)
        if not fresh:
            return
        beat = first.beat
        facts = {
            "why": verdict.kind,
            "ranks": [s.rank for s in verdict.ranks],
            "rank": None if verdict.kind == "all-wait" else first.rank,
            "node": beat.host,
            "pid": beat.pid,
            "stage": beat.stage,
            "step": beat.step,
            "seconds": round(verdict.for_s, 1),
            "teller": self.world.rank,
        }
        text = sentence(verdict, self._process(first))
        _within(_DISK_S, lambda: self.log_event("stuck", text, "error", **facts))

    def _process(self, s: Seen) -> str:
        if s.beat.host != self.host:
            return "unknown: no living rank on its host"
        words = process.state(s.beat.pid, s.beat.born)
        if s.rank == self.world.rank:
            words += f", at {process.line_of(self.pulse.thread)}"
        return words

    def _tell_returns(self, seen: list[Seen], trust_s: float) -> None:
        for s in seen:
            back = s.silent_s < trust_s and s.beat.still_s < self.health.name_after_s
            if s.rank in self._told and back and not s.beat.left:
                del self._told[s.rank]
                text = f"rank {s.rank} on {s.beat.host} (pid {s.beat.pid}) goes on, in `{s.beat.stage}` of step {s.beat.step}"
                facts = {"rank": s.rank, "node": s.beat.host, "stage": s.beat.stage, "step": s.beat.step}
                _within(_DISK_S, lambda text=text, facts=facts: self.log_event("unstuck", text, "info", **facts))  # type: ignore[misc]

    def _reason(self, verdict: Verdict) -> str:
        state = self._process(verdict.ranks[0]) if verdict.kind != "all-wait" else ""
        return f"the job ends: {sentence(verdict, state)}"

    def _end_job(self, beats: Beats, why: str) -> None:
        """Write stacks, let the others do so, give up."""
        began = time.monotonic()
        self._ending = why
        text = process.stacks()
        path = self.phase / "stacks" / f"rank-{self.world.rank}.txt"
        place = self.pulse.place
        who = f"rank {self.world.rank} on {self.host} (pid {self._pid}), in `{place.stage}` of step {place.step}"

        def write() -> bool:
            write_atomic(path, f"{why}\n{who}\n\n".encode() + text)
            return True

        written = _within(_DISK_S, write)
        if not written:
            print(text.decode(errors="replace"), file=sys.stderr, flush=True)
        self._dumped = True
        beats.hurry()
        # A rank that leaves first breaks the others' collectives, and rank 0 their store. Nobody waits for long.
        while time.monotonic() < began + 4 * self.health.beat_s:
            living = [s for s in beats.seen() if not s.beat.left and s.silent_s < beats.trust_s]
            if living and all(s.beat.dumped for s in living) and beats.store_silent_s < beats.trust_s:
                break
            time.sleep(self.health.beat_s / 4)
            beats.hurry()
        where = f"; stacks in {path}" if written else "; stacks above"
        try:
            self._give_up(why + where)
        finally:
            exit_now(f"{why}{where}")


def _within(seconds: float, work: Callable[[], T]) -> T | None:
    """work's answer, or None when it takes longer or fails: then it is left behind in a thread of its own."""
    answers: list[T] = []

    def run() -> None:
        keep_signals_out()
        try:
            answers.append(work())
        except Exception as error:
            _log.warning("watch: %s", error)

    thread = threading.Thread(target=run, name="mlseg-watch-writes", daemon=True)
    thread.start()
    thread.join(seconds)
    return answers[0] if answers else None
