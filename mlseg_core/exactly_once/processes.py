"""Processes of this machine that do one job together: seen when they die, started again, told to stop.

In: a job and what each process gets. Out: nothing, or what a process raised. Nothing is shared between the processes
(no locks, no queues), so that one killed by SIGKILL cannot leave the others waiting.
"""

import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from mlseg_core import logs
from mlseg_core.errors import Interrupted

POLL_S = 0.25
_BOUNDARY_S = 10.0  # to reach a safe point once told to stop
_CLEAN_UP_S = 5.0  # to remove temporaries once told to leave at once

Job = Callable[..., None]
"""job(*arguments, stop=...): works until done; raises Interrupted at a safe point once stop() says so."""


@dataclass
class _Member:
    number: int
    process: BaseProcess
    connection: Connection
    running: bool = True


def run_workers(
    job: Job,
    count: int,
    arguments: Callable[[int, int], tuple[Any, ...]],
    died: Callable[[int, int], None],
    watch: Callable[[], None],
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Run the job in `count` processes until all have returned. LOCAL_RANK and LOCAL_WORLD_SIZE tell each its place among them.

    arguments(number, life): picklable; life counts the processes that this worker has had before.
    died(number, life): a process is gone without a word (SIGKILL, a crash in C). Another one follows unless it raises.
    watch(): called a few times a second.
    Raises Interrupted after SIGINT, SIGTERM, SIGUSR2 or stop(), and what a process raised; the others are stopped first.
    """
    context = multiprocessing.get_context("spawn")
    members: list[_Member] = []
    lives = [0] * count
    error: BaseException | None = None
    told, insisted = 0.0, False

    def start(number: int) -> _Member:
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(
            target=_child,
            args=(theirs, job, arguments(number, lives[number]), number, count, logs.style()),
            daemon=True,
        )
        process.start()
        theirs.close()
        return _Member(number, process, ours)

    with _signals() as signals:
        try:
            members = [start(number) for number in range(count)]
            while running := [member for member in members if member.running]:
                wait([member.connection for member in running], POLL_S)
                for member in running:
                    outcome = _outcome(member)
                    if isinstance(outcome, _Died):
                        if told or signals:
                            continue
                        died(member.number, lives[member.number])
                        lives[member.number] += 1
                        members[members.index(member)] = start(member.number)
                    elif outcome is not None:
                        error = error or outcome
                watch()
                if not told and (error is not None or signals or stop()):
                    told = time.monotonic()
                    _tell(members)
                if told and time.monotonic() > told + _BOUNDARY_S and not insisted:
                    insisted = True
                    _tell(members)
                if told and time.monotonic() > told + _BOUNDARY_S + _CLEAN_UP_S:
                    break
        finally:
            for member in members:
                if member.process.is_alive():
                    member.process.kill()
                member.process.join()
                member.connection.close()
    if error is not None and not isinstance(error, Interrupted):
        raise error
    if told:
        raise Interrupted("stopped; what is finished stays")


class _Died(Exception):
    """A process ended without saying why."""


def _outcome(member: _Member) -> BaseException | None:
    """What the process raised, _Died, or None: it has returned, or runs."""
    if not member.connection.poll():
        return None
    member.running = False
    try:
        outcome = member.connection.recv()
    except (EOFError, OSError):
        outcome = _Died()
    member.connection.close()
    member.process.join()
    return outcome


def _tell(members: list[_Member]) -> None:
    for member in members:
        if member.running and member.process.is_alive():
            member.process.terminate()


def _child(
    connection: Connection, job: Job, arguments: tuple[Any, ...], number: int, count: int, style: logs.Style | None
) -> None:
    logs.use(style)
    place = {
        "LOCAL_RANK": str(number),
        "LOCAL_WORLD_SIZE": str(count),
    }  # decides which of the machine's GPUs is its own
    os.environ.update(place)
    asked = _Asked()
    parent = multiprocessing.parent_process()
    assert parent is not None
    outcome: BaseException | None = None
    try:
        job(*arguments, stop=lambda: asked.times > 0 or not parent.is_alive())
    except Exception as error:
        outcome = error
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301  (our own bytes)
        except Exception:
            outcome = RuntimeError(f"{type(error).__name__}: {error}")
    try:
        connection.send(outcome)
    except BrokenPipeError:
        pass  # the parent is gone


class _Asked:
    """TERM asks to stop at a safe point, a second one to leave at once. Other signals are the parent's to answer."""

    def __init__(self) -> None:
        self.times = 0
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._on_term)

    def _on_term(self, number: int, frame: object) -> None:
        self.times += 1
        if self.times > 1:
            raise Interrupted("stopped within a unit")


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that came meanwhile. A second Ctrl-C raises KeyboardInterrupt. Elsewhere than in the main thread: none."""
    came: list[int] = []

    def on_signal(number: int, frame: object) -> None:
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield came
        return
    old = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)}
    try:
        yield came
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
