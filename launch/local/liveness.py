"""Local jobs die with the planner that started them, even by SIGKILL, and a new start never runs beside an old one.

The planner holds a lock on `planner.lock` and writes its token there; every task holds a shared lock on `tasks.lock`
for life and watches the first. The kernel releases locks at death, so nothing here depends on pids or clocks.
The files lie in this machine's temporary folder, as locks on network file systems cannot be relied on. Other users and other
machines, which cannot see them, go by a record in the run folder (launch/local/record.py).
"""

import fcntl
import hashlib
import json
import os
import secrets
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from launch.local.record import (
    FILE,
    LocalPlanner,
    is_touched,
    read_record,
    recorded,
    recorded_planner,
)
from mlseg_core.errors import UserError
from mlseg_core.node import process_born, user_name

TOKEN_VARIABLE = "MLSEG_LOCAL_PLANNER"  # noqa: S105  (names a variable, is no secret)
_POLL_S = 0.5


@contextmanager
def local_planner(run: Path, wait_s: float = 30.0) -> Iterator[str]:
    """Be the only local planner of a run folder; yields the token that its tasks get. Raises UserError."""
    planner, tasks = _open(run, "planner"), _open(run, "tasks")
    try:
        if not _lock_patiently(planner):
            raise UserError("the campaign is already running on this machine", run, "Follow it with `mlseg status`.")
        _refuse_beside_another(run)
        token = secrets.token_hex(8)
        os.ftruncate(planner, 0)
        os.pwrite(planner, json.dumps({"token": token, "pid": os.getpid()}).encode(), 0)
        deadline = time.monotonic() + wait_s
        while not _lock(tasks, fcntl.LOCK_EX):  # tasks of a planner that was killed see the new token and end
            if time.monotonic() > deadline:
                raise UserError("processes of an earlier start are still alive", run, "Wait for them, or kill them.")
            time.sleep(_POLL_S / 5)
        fcntl.flock(tasks, fcntl.LOCK_UN)
        with recorded(run, token, user_name(os.getuid())):
            yield token
    finally:
        os.close(tasks)
        os.close(planner)


def _refuse_beside_another(run: Path) -> None:
    """Raises UserError while a planner that our lock does not keep out lives: another user's, or on another machine."""
    found = read_record(run)
    if found is None or (found.pid == os.getpid() and found.is_here):
        return
    if found.is_here:
        if recorded_planner(run) is not None:
            raise UserError(f"the campaign {found.words} already", run, "Follow it with `mlseg status`.")
        return
    print(f"{run / FILE} names a planner on {found.host}: looking for a sign of life …", flush=True)
    if is_touched(run):
        raise UserError(f"the campaign {found.words} already", run, "Follow it with `mlseg status`.")


def running_planner(run: Path) -> LocalPlanner | None:
    """The local planner that runs this campaign now, of any user on any machine, as far as can be known. Writes nothing."""
    pid = _locked_by(run)
    found = recorded_planner(run)
    if pid is None or (found is not None and found.pid == pid):
        return found
    return LocalPlanner(socket.gethostname(), user_name(os.getuid()), os.getuid(), pid, process_born(pid), "")


def planner_pid(run: Path) -> int | None:
    """Process id of this user's local planner on this machine that runs the campaign now."""
    found = running_planner(run)
    return found.pid if found is not None and found.is_ours else None


def _locked_by(run: Path) -> int | None:
    """Process id of the planner that holds this user's lock on this machine."""
    try:
        handle = os.open(_lock_path(run, "planner"), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return None if _lock(handle, fcntl.LOCK_SH) else int(_content(handle).get("pid", 0)) or None
    finally:
        os.close(handle)


def die_with_planner(run: Path) -> None:
    """In a task of a local job: hold the tasks' lock for life and end at once when the planner is gone."""
    token = os.environ.get(TOKEN_VARIABLE)
    if token is None:
        return
    tasks, planner = _open(run, "tasks"), _open(run, "planner")
    fcntl.flock(tasks, fcntl.LOCK_SH)
    if _is_gone(planner, token):
        os._exit(1)
    threading.Thread(target=_watch, args=(planner, token), daemon=True, name="die-with-planner").start()


def _watch(planner: int, token: str) -> None:
    while not _is_gone(planner, token):
        time.sleep(_POLL_S)
    os.kill(os.getpid(), signal.SIGKILL)


def _is_gone(planner: int, token: str) -> bool:
    if _content(planner).get("token") != token:
        return True
    if _lock(planner, fcntl.LOCK_SH):
        fcntl.flock(planner, fcntl.LOCK_UN)
        return True
    return False


def _lock_path(run: Path, name: str) -> Path:
    key = hashlib.sha256(os.fsencode(run.resolve())).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"mlseg-{os.getuid()}" / f"{key}-{name}.lock"


def _open(run: Path, name: str) -> int:
    path = _lock_path(run, name)
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.parent.stat().st_uid != os.getuid():
        raise UserError("the folder for locks belongs to somebody else", path.parent, "Remove it, or set TMPDIR.")
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def _lock(handle: int, mode: int) -> bool:
    try:
        fcntl.flock(handle, mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lock_patiently(handle: int) -> bool:
    """Others hold the planner's lock for an instant when they look whether it is free."""
    for _ in range(10):
        if _lock(handle, fcntl.LOCK_EX):
            return True
        time.sleep(0.1)
    return False


def _content(handle: int) -> dict[str, Any]:
    try:
        return json.loads(os.pread(handle, 4096, 0) or b"{}")
    except ValueError:
        return {}  # caught between truncate and write: the planner is new
