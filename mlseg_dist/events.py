"""What happened to a phase that a person may want to know: `events.jsonl`, appended to and never cut back.

metrics.jsonl says how training goes and loses what a resumed start does again; here every start, fallback and alert stays.
"""

import json
import logging
import os
import socket
import time
from pathlib import Path
from typing import Any, Literal, Protocol

from mlseg_core.files import read_json_lines

_log = logging.getLogger(__name__)


Level = Literal["info", "warning", "error"]
_LEVELS: dict[Level, int] = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


class LogEvent(Protocol):
    """Writes one event: `Events.log`, as it is passed to whatever has something to say."""

    def __call__(self, event: str, text: str, level: Level = "warning", **facts: Any) -> None: ...


class Events:
    """Any process of the phase may log; a line is one write, so lines of several processes do not mix."""

    def __init__(self, phase: Path) -> None:
        self.path = phase / "events.jsonl"

    def log(self, event: str, text: str, level: Level = "warning", **facts: Any) -> None:
        """event: a short name (`checkpoint-damaged`). text: one sentence for people. Never raises; it is logged as well."""
        _log.log(_LEVELS[level], "%s: %s", event, text)
        self.record(event, text, level, **facts)

    def record(self, event: str, text: str, level: Level = "warning", **facts: Any) -> None:
        """As log(), for what is in the job's log already."""
        host, now = socket.gethostname(), round(time.time(), 3)
        line = json.dumps({"event": event, "level": level, "text": text, **facts, "host": host, "time": now})
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                os.write(handle, (line + "\n").encode())
            finally:
                os.close(handle)
        except OSError as error:
            _log.warning("%s: %s", self.path, error)


def read_events(phase: Path) -> list[dict[str, Any]]:
    """All events of a phase, oldest first."""
    return read_json_lines(phase / "events.jsonl")
