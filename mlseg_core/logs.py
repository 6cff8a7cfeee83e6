"""How messages look. Modules log with `logging.getLogger(__name__)`; a command and a job each say here how that is shown.

`print` is left for what a command answers. What must get out although this process is stuck (training/health) goes past all this.
"""

import logging
import sys
from typing import Literal, TextIO, cast

PACKAGES = ("launch", "mlseg_core", "mlseg_dist", "shards")
"""Whose messages are shown; libraries keep their own ways."""

Style = tuple[Literal["command", "job"], int]
"""In whose words, and the rank of a job's process."""

_style: Style | None = None


def log_as_command() -> None:
    """For people at a terminal: plain sentences on stdout; warnings and errors on stderr, as `mlseg: warning: …`."""
    _set(("command", 0))


def log_as_job(rank: int) -> None:
    """For a job's log: date, time, rank and level before each message. Warnings and errors go to stderr."""
    _set(("job", rank))


def style() -> Style | None:
    """What was set last, for processes that this one starts: `use(style())` there."""
    return _style


def use(style: Style | None) -> None:
    """Log as another process does. None: leave everything as it is."""
    if style is not None:
        _set(style)


class _Handler(logging.StreamHandler):
    """Writes to sys.stdout or sys.stderr as they are at the time, since jobs and tests replace them."""

    def __init__(self, name: Literal["stdout", "stderr"], formatter: logging.Formatter) -> None:
        logging.Handler.__init__(self)
        self._stream_name = name
        self.setFormatter(formatter)
        self.addFilter(lambda record: (record.levelno >= logging.WARNING) == (name == "stderr"))

    @property
    def stream(self) -> TextIO:
        return cast(TextIO, getattr(sys, self._stream_name))


class _Words(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        level = "" if record.levelno < logging.WARNING else f"mlseg: {record.levelname.lower()}: "
        return level + super().format(record)


def _set(style: Style) -> None:
    global _style
    _style = style
    what, rank = style
    formatter = (
        _Words()
        if what == "command"
        else logging.Formatter(f"%(asctime)s rank {rank} %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    )
    for package in PACKAGES:
        logger = logging.getLogger(package)
        logger.handlers = [_Handler("stdout", formatter), _Handler("stderr", formatter)]
        logger.setLevel(logging.INFO)
        logger.propagate = False
