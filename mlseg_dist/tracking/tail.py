"""Whole lines as they are appended to a JSONL file that another process writes, and may cut back or replace."""

import json
from pathlib import Path
from typing import Any

_SEEN_BYTES = 512


class Tail:
    """read() returns what is new. `restarted` is True after a read that began again at the first line."""

    def __init__(self, path: Path) -> None:
        self.path, self.offset, self.restarted = path, 0, False
        self._seen = b""

    def read(self) -> list[tuple[int, dict[str, Any]]]:
        """(offset of its end in bytes, record) of each new whole line; lines that are no JSON are left out.

        A cut is noticed by what lies before the offset: lines carry the time at which they were written.
        """
        self.restarted = False
        try:
            file = open(self.path, "rb")  # noqa: SIM115
        except FileNotFoundError:
            self.restarted, self.offset, self._seen = self.offset > 0, 0, b""
            return []
        with file:
            if self.offset:
                file.seek(self.offset - len(self._seen))
                if file.read(len(self._seen)) != self._seen:
                    self.restarted, self.offset = True, 0
            file.seek(self.offset)
            new = file.read()
        new = new[: new.rfind(b"\n") + 1]
        if new or self.restarted:
            self._seen = (new if self.restarted else self._seen + new)[-_SEEN_BYTES:]
        found = []
        for line in new.splitlines(keepends=True):
            self.offset += len(line)
            try:
                record = json.loads(line)
            except ValueError:
                continue
            if isinstance(record, dict):
                found.append((self.offset, record))
        return found
