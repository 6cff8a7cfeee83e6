"""Nothing that is done to one slide may last for ever: a limit for a piece of work, and one for each of many in threads.

Regular files and directories without circles (regular_files.py, pyramids/directories.py) end the hangs that are known. What is left
are the unknown ones, in libraries and on networks.
"""

import faulthandler
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

OPENING_S = 1800.0
"""To open a slide and read its annotation, seconds. The slowest that are known, masks of 10^10 px, take a few minutes."""
_AGAIN_S = 5.0  # code that swallowed the first alarm gets another one
_GRACE_S = 60.0
_LOOK_S = 0.5

Item = TypeVar("Item")
Result = TypeVar("Result")


class _TimeUp(BaseException):
    """Not an Exception, because code that decodes damaged files catches all of those."""


@contextmanager
def time_limit(seconds: float, error: Callable[[], Exception], ends_process: bool = False) -> Iterator[None]:
    """What is inside may take so long; then error() is raised. In the main thread only; in others there is no limit.

    ends_process: where a library does not come back even so, within another minute, the process writes what it was doing
    and exits, and whoever watches over it sees it die. Of two nested limits the one that comes first counts.
    """
    before, left = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)[0]
    if threading.current_thread() is not threading.main_thread() or 0 < left <= seconds:
        yield
        return
    up, begun = _TimeUp(), time.monotonic()

    def ring(number: int, frame: object) -> None:
        raise up

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_S)
    if ends_process:
        with suppress(AttributeError, ValueError, OSError):  # a stderr without a file behind it
            faulthandler.dump_traceback_later(seconds + _GRACE_S, exit=True, file=sys.__stderr__.fileno())  # type: ignore[union-attr]
    try:
        yield
    except _TimeUp as caught:
        if caught is not up:
            raise
        raise error() from None
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL if before is None else before)
        if ends_process:
            faulthandler.cancel_dump_traceback_later()
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(0.001, left - (time.monotonic() - begun)), _AGAIN_S)


def each_within(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    threads: int,
    seconds: float,
    late: Callable[[Item], Result],
) -> list[Result]:
    """function(item) of each, in their order, on so many threads; late(item) for one that takes longer than `seconds`.

    A thread that does not come back is left behind, and another one takes its place; it cannot keep the process alive.
    Raises what the first item's function raised.
    """
    crew = _Crew(function, items)
    for _ in range(min(threads, len(items))):
        crew.hire()
    while crew.is_busy():
        for index in crew.overdue(seconds):
            crew.give(index, late(items[index]))
            crew.hire()
    return crew.results()


class _Crew:
    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self._function, self._items = function, items
        self._changed = threading.Condition()
        self._next = 0
        self._begun: dict[int, float] = {}
        self._given: dict[int, tuple[Any, BaseException | None]] = {}

    def hire(self) -> None:
        threading.Thread(target=self._work, daemon=True).start()

    def is_busy(self) -> bool:
        """Waits a moment for something to change."""
        with self._changed:
            if len(self._given) < len(self._items):
                self._changed.wait(_LOOK_S)
            return len(self._given) < len(self._items)

    def overdue(self, seconds: float) -> list[int]:
        with self._changed:
            now = time.monotonic()
            return [index for index, begun in self._begun.items() if index not in self._given and now > begun + seconds]

    def give(self, index: int, result: object, error: BaseException | None = None) -> bool:
        """Whether it was the first to give this one."""
        with self._changed:
            is_first = index not in self._given
            if is_first:
                self._given[index] = (result, error)
            self._changed.notify_all()
            return is_first

    def results(self) -> list:
        for index in range(len(self._items)):
            error = self._given[index][1]
            if error is not None:
                raise error
        return [self._given[index][0] for index in range(len(self._items))]

    def _work(self) -> None:
        while True:
            with self._changed:
                index = self._next
                if index >= len(self._items):
                    return
                self._next, self._begun[index] = index + 1, time.monotonic()
            try:
                is_first = self.give(index, self._function(self._items[index]))
            except BaseException as error:
                is_first = self.give(index, None, error)
            if not is_first:
                return
