"""Where a rank's main thread is: written by the loop at each stage, read by the watch's threads."""

import threading
import time
from typing import NamedTuple

WAITING = frozenset({"reduce"})
"""Stages in which a rank waits for all others: never the cause of a standstill."""
UNHURRIED = frozenset({"start", "compile"})
"""Stages that may take any time (compilation is slow): only the heartbeat counts there."""


class Place(NamedTuple):
    """Ranks do the same stages in the same order, so (step, stages) says who is behind."""

    stage: str
    step: int
    stages: int
    """Stages begun in this step."""
    since: float
    """time.monotonic() when the stage began: when progress was last seen."""


class Pulse:
    """The main thread calls at(); any thread may read `place`, always whole: it is one reference."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        """The thread that made it, and whose progress it reports."""
        self.place = Place("start", 0, 0, time.monotonic())

    def at(self, stage: str, step: int) -> None:
        """Begin a stage (`read`, `forward`, `backward`, `reduce`, `save`, `validate`, ...); again and again in a long one."""
        last = self.place
        self.place = Place(stage, step, last.stages + 1 if step == last.step else 0, time.monotonic())
