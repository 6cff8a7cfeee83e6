"""Who sends a phase to W&B: one process at a time, over hosts that share nothing but the file system.

The holder rewrites its claim with a growing count. Another takes over once the claim has stood still for `stale_s` of its
own clock, or at once where the holder was a process of this host that is gone. Clocks of hosts are never compared. Should two
take over at the same moment, the one whose claim stays keeps it; a row sent twice counts once (see rows.py).
"""

import json
import os
import secrets
import socket
import time
from pathlib import Path
from typing import Any

from mlseg_core.files import publish_first, temporary_beside, write_atomic

STALE_S, BEAT_S = 60.0, 10.0


class Claim:
    """held() before each sending; release() at the end."""

    def __init__(self, path: Path, stale_s: float = STALE_S) -> None:
        self.path, self.stale_s = path, stale_s
        self._token, self._beat, self._mine = secrets.token_hex(8), 0, False
        self._renewed = 0.0
        self._last: tuple[dict[str, Any], float] | None = None

    def held(self) -> bool:
        """True while this process is the one that sends. Raises OSError."""
        found = self.holder()
        if found is None:
            self._mine = self._publish()
            return self._mine
        if found.get("token") == self._token:
            if time.monotonic() - self._renewed > min(BEAT_S, self.stale_s / 4):
                write_atomic(self.path, self._content())
            self._mine = True
            return True
        self._mine = False
        if self._is_dead(found):
            write_atomic(self.path, self._content())  # held from the next call on, if nobody else did so too
        return False

    def is_about_to_be_ours(self) -> bool:
        """After held() has taken over from a dead holder, or where there is none any more."""
        found = self.holder()
        return not self._mine and (found is None or found.get("token") == self._token)

    def holder(self) -> dict[str, Any] | None:
        """Who says that it sends: token, host, pid, beat."""
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except ValueError:
            found = {}
        return found if isinstance(found, dict) else {}

    def release(self) -> None:
        if self._mine and (self.holder() or {}).get("token") == self._token:
            self.path.unlink(missing_ok=True)
        self._mine = False

    def _is_dead(self, found: dict[str, Any]) -> bool:
        if found.get("host") == socket.gethostname() and not _is_alive(int(found.get("pid", 0))):
            return True
        if self._last is None or self._last[0] != found:
            self._last = (found, time.monotonic())
        return time.monotonic() - self._last[1] > self.stale_s

    def _publish(self) -> bool:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_beside(self.path)
        temporary.write_text(self._content(), encoding="utf-8")
        return publish_first(temporary, self.path)

    def _content(self) -> str:
        self._beat += 1
        self._renewed = time.monotonic()
        who = {"token": self._token, "host": socket.gethostname(), "pid": os.getpid(), "beat": self._beat}
        return json.dumps(who)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return pid > 0
