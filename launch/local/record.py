"""RUN/planner.json: which process of which machine and user runs the campaign locally, for those who cannot see its lock.

The lock (liveness.py) decides where it can be looked at. It lies in the temporary folder of one machine and one user, so
another user, another machine, or a shell with another TMPDIR goes by this record: on the same machine by the process that
it names, on another one by whether the record is still touched. Clocks of two machines are never compared to decide.
"""

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from mlseg_core.files import write_atomic
from mlseg_core.node import process_born, process_exists

FILE = "planner.json"
TOUCH_S = 10.0
SILENT_S = 300.0
"""If a record from another machine was not touched for so long, its planner is shown as gone."""
WATCH_S = 90.0
"""How long a start watches a record on another machine: NFS may show an old time for a minute."""


@dataclass(frozen=True)
class LocalPlanner:
    """A process that runs the phases of a campaign on its machine. born: process_born of it."""

    host: str
    user: str
    uid: int
    pid: int
    born: int
    token: str

    @property
    def is_here(self) -> bool:
        return self.host == socket.gethostname()

    @property
    def is_ours(self) -> bool:
        """Whether this user may signal it from here."""
        return self.is_here and self.uid == os.getuid()

    @property
    def words(self) -> str:
        """`is running on this machine`, `runs on HOST as USER (process 12)`."""
        if self.is_ours:
            return "is running on this machine"
        return f"runs on {'this machine' if self.is_here else self.host} as {self.user} (process {self.pid})"


def read_record(run: Path) -> LocalPlanner | None:
    """What the record says, whether or not that process lives."""
    try:
        return LocalPlanner(**json.loads((run / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def recorded_planner(run: Path) -> LocalPlanner | None:
    """The planner of the record unless it is gone, as far as one look can tell. Writes nothing."""
    found = read_record(run)
    if found is None:
        return None
    if found.is_here:
        return found if process_exists(found.pid, found.born) else None
    with suppress(OSError):
        if time.time() - (run / FILE).stat().st_mtime < SILENT_S:
            return found
    return None


def is_touched(run: Path, watch_s: float | None = None) -> bool:
    """Watch the record of a planner on another machine: True as soon as it is touched, False when it stays as it is."""
    end = time.monotonic() + (WATCH_S if watch_s is None else watch_s)
    first = _mark(run)
    while time.monotonic() < end and first is not None:
        if _mark(run) != first:
            return _mark(run) is not None
        time.sleep(min(1.0, WATCH_S / 20))
    return False


def _mark(run: Path) -> int | None:
    try:
        return (run / FILE).stat().st_mtime_ns
    except OSError:
        return None


@contextmanager
def recorded(run: Path, token: str, user: str) -> Iterator[None]:
    """Say in the run folder that this process runs the campaign, and touch the record until the end; then remove it."""
    pid = os.getpid()
    mine = LocalPlanner(socket.gethostname(), user, os.getuid(), pid, process_born(pid), token)
    write_atomic(run / FILE, json.dumps(asdict(mine)))
    over = threading.Event()
    toucher = threading.Thread(target=_touch, args=(run / FILE, over), daemon=True, name="planner-record")
    toucher.start()
    try:
        yield
    finally:
        over.set()
        toucher.join()
        if read_record(run) == mine:
            with suppress(OSError):
                (run / FILE).unlink()


def _touch(path: Path, over: threading.Event) -> None:
    while not over.wait(TOUCH_S):
        with suppress(OSError):  # it needs no room on a disk that is full
            os.utime(path)
