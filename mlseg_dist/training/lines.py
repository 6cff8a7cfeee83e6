"""metrics.jsonl: lines appended to, cut back when training goes on from an earlier step, kept in memory while a disk is full."""

import json
import os
from pathlib import Path
from typing import Any

from mlseg_core.files import write_atomic
from mlseg_dist.events import Tell


class Lines:
    """metrics.jsonl, appended to. What cannot be written (a full disk) stays in memory and is written later; told once."""

    def __init__(self, path: Path, tell: Tell) -> None:
        self.path, self._tell = path, tell
        self._waiting: list[str] = []
        self._told = False

    @property
    def is_empty(self) -> bool:
        return not self._waiting and (not self.path.exists() or self.path.stat().st_size == 0)

    def write(self, record: dict[str, Any]) -> None:
        self._waiting.append(json.dumps(record) + "\n")
        self._flush(sync=False)

    def cut_back(self, step: int) -> None:
        self._waiting = [line for line in self._waiting if json.loads(line)["step"] <= step]
        cut_back(self.path, step)

    def close(self) -> None:
        self._flush(sync=True)

    def _flush(self, sync: bool) -> None:
        data = "".join(self._waiting).encode()
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            try:
                size = os.fstat(handle).st_size
                written = 0
                try:
                    while written < len(data):
                        written += os.write(handle, data[written:])
                except OSError:
                    os.ftruncate(handle, size)  # no torn line
                    raise
                self._waiting = []
                if sync:
                    os.fsync(handle)
            finally:
                os.close(handle)
        except OSError as error:
            if not self._told:
                self._told = True
                self._tell("metrics-failed", f"{self.path.name}: {error}; lines are kept in memory until it can be")
            return
        if self._told:
            self._told = False
            self._tell("metrics-written", f"{self.path.name} is written again, nothing is lost", "info")


def cut_back(path: Path, step: int) -> None:
    """Drop the lines of steps after `step`, and a last line that was cut short. Needs no room on a disk that is full."""
    if not path.exists():
        return
    kept: list[bytes] = []
    lines = path.read_bytes().splitlines(keepends=True)
    for line in lines:
        try:
            if line.endswith(b"\n") and json.loads(line)["step"] <= step:
                kept.append(line)
        except (ValueError, KeyError, TypeError):
            continue
    if kept == lines[: len(kept)]:
        os.truncate(path, sum(map(len, kept)))
    else:
        write_atomic(path, b"".join(kept))
