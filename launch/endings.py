"""How a process of a phase ended: its status, its error in one line, and whether a person has to fix the cause or a retry may help.

The run folder's disk is the same for every node: a retry meets it again. A node's own disk (its temporary folder, a cache) is not:
another node may do. So an error of the latter stays a failure that is planned again.
"""

import shutil
import sys
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from launch.run_folder import RunFolder
from mlseg_core.errors import (
    EXIT_DONE,
    EXIT_INTERRUPTED,
    EXIT_USER_ERROR,
    Interrupted,
    UserError,
    disk_error,
    for_a_person,
)

OF_EXIT = {EXIT_DONE: "done", EXIT_USER_ERROR: "user error", EXIT_INTERRUPTED: "interrupted"}
"""Exit status -> the word for it. Any other exit status means `failed`."""
STUCK = "stuck"
"""The status of a process that gave up because a rank of its job stood still."""
FAILURES = ("user error", "failed", STUCK)
"""Statuses of a process that failed, the best explanation of a phase's failure first."""


_MOST = 500
_LIBRARIES = ("gloo", "NCCL", "ProcessGroup")
_GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")


def one_line(error: BaseException | None) -> str:
    """What ended a process, in one line: the message alone of a user's mistake or an interruption, else type and message."""
    text = " ".join(str(error).split())
    if isinstance(error, UserError):
        return f"error: {text}"
    if isinstance(error, Interrupted):
        return f"interrupted: {text}"
    if isinstance(error, RuntimeError) and (lost := _lost_peer(text)):
        return f"another rank of this job is gone ({lost}); its log says why, if it could"
    return f"{type(error).__name__}: {text}"[:_MOST]


def _lost_peer(text: str) -> str:
    """The part of an error of gloo or NCCL that says that the other end of a connection is gone; empty for other errors."""
    where = next((place for mark in _GONE if (place := text.find(mark)) >= 0), -1)
    if where < 0 or not any(name in text for name in _LIBRARIES):
        return ""
    return text[where:].split(". ")[0].rstrip(".")


_OF_A_NODE = ("/tmp", "/var/tmp", "/dev/shm", "/run")  # noqa: S108  (only compared with)
_NO_ROOM = 1 << 20


def in_words_for_a_person(error: BaseException, run: RunFolder) -> BaseException:
    """The error as a UserError if a person has to fix its cause, else unchanged."""
    cause = disk_error(error)
    if isinstance(error, UserError) or cause is None or _is_of_this_node(cause, run):
        return error
    return for_a_person(error) or error


def _is_of_this_node(cause: OSError, run: RunFolder) -> bool:
    """Whether the file lies on the node's own disk; if the error names no file, whether only that disk is full."""
    places = [Path(place) for place in {tempfile.gettempdir(), *_OF_A_NODE, *_cache(run)}]
    local = [place for place in places if not run.path.is_relative_to(place) and place.is_dir()]
    names = [Path(name) for name in (cause.filename, cause.filename2) if isinstance(name, str)]
    if names:
        return any(name.is_relative_to(place) for name in names for place in local)
    with suppress(OSError):
        if shutil.disk_usage(run.path).free < _NO_ROOM:
            return False
    return any(_is_full(place) for place in local)


def _cache(run: RunFolder) -> Iterable[str]:
    with suppress(UserError):
        folder = run.config().train.cache_dir
        return [] if folder is None else [str(folder)]
    return []


def _is_full(place: Path) -> bool:
    try:
        return shutil.disk_usage(place).free < _NO_ROOM
    except OSError:
        return False


class _UnfailingStream:
    """A text stream whose writes never fail: if the disk is full, only lines of the log are lost."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def outlive_a_full_disk() -> None:
    """Keep print() from ending this process when the disk is full: its log lies in the run folder."""
    sys.stdout, sys.stderr = _UnfailingStream(sys.stdout), _UnfailingStream(sys.stderr)
