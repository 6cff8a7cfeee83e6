"""Heartbeats of all ranks through the job's own rendezvous store: no file system, no clock of another host.


The store's client knows no time-out while it waits for an answer, so a thread of its own talks to it: when the store stands
still (its host is rank 0's) that thread does too, and whoever reads `Beats` sees how long ago the last answer came.
"""

import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import timedelta

import torch.distributed as dist

_log = logging.getLogger(__name__)


_CONNECT = timedelta(seconds=10)


@dataclass(frozen=True)
class Beat:
    """What a rank says of itself."""

    number: int
    """Counts heartbeats: unchanged means no heartbeat."""
    host: str
    pid: int
    born: int
    """See process.born."""
    stage: str
    step: int
    stages: int
    still_s: float
    """Seconds since its main thread's last progress, by its own clock."""
    left: bool = False
    """It has ended its watch: it goes, done or failed."""
    ending: str = ""
    """Why it wants the job to end; empty: it does not."""
    dumped: bool = False
    """Its stacks are written."""


@dataclass(frozen=True)
class Seen:
    """A rank as this one sees it."""

    rank: int
    beat: Beat
    silent_s: float
    """How long this rank's clock has seen no new heartbeat of it."""


class Beats:
    """One rank's heartbeat and what it has heard of the others. beat: called for each heartbeat with its number."""

    def __init__(
        self,
        rank: int,
        size: int,
        prefix: str,
        beat_s: float,
        beat: Callable[[int], Beat],
        woke: Callable[[float], object],
    ) -> None:
        """Posts the first heartbeat. Raises RuntimeError or OSError where the store cannot be reached.

        woke: told after each pause between heartbeats how many seconds longer it was than it should be.
        """
        self.rank, self._beat_s, self._beat, self._woke = rank, beat_s, beat, woke
        self.trust_s = 3 * beat_s
        """Silence up to here means nothing."""
        self._keys = [f"{prefix}/beat/{r}" for r in range(size)]
        self._known: list[int] = []
        self._heard: dict[int, tuple[Beat, float]] = {}
        self._lock = threading.Lock()
        self._number = 0
        self.alone = False
        """Rank 0 has left and the store goes with it: heartbeats are over for this rank too."""
        self._leave_by: float | None = None
        self._hurry = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlseg-beats", daemon=True)
        self._store: dist.TCPStore | None = _client()
        self._post(self._store, left=False)
        self._answered = time.monotonic()

    def start(self) -> None:
        self.forget()
        self._thread.start()

    def leave(self) -> None:
        """The last heartbeat: done. Rank 0 gives the others up to two heartbeats' time to leave too, as the store goes with it.

        A thread that sits in the store's client, because the store stands still, is left behind.
        """
        self._leave_by = time.monotonic() + 2 * self._beat_s
        self._hurry.set()
        if self._thread.ident is not None:
            self._thread.join(2 * self._beat_s + 2)

    def hurry(self) -> None:
        """Do not wait for the next heartbeat's turn."""
        self._hurry.set()

    @property
    def store_silent_s(self) -> float:
        """Seconds since the store's last answer."""
        return time.monotonic() - self._answered

    def seen(self) -> list[Seen]:
        """All ranks that have sent a heartbeat, this one too."""
        now = time.monotonic()
        with self._lock:
            return [Seen(rank, beat, now - changed) for rank, (beat, changed) in sorted(self._heard.items())]

    def forget(self) -> None:
        """Count silence from now on: this process, or the store, stood still and has missed what others said."""
        self._answered = now = time.monotonic()
        with self._lock:
            self._heard = {rank: (beat, now) for rank, (beat, _) in self._heard.items()}

    def _run(self) -> None:
        keep_signals_out()
        while True:
            leaving = self._leave_by is not None
            try:
                self._store = self._store or _client()
                self._round(self._store, leaving)
            except (RuntimeError, OSError) as error:  # dist.DistError is a RuntimeError
                if self._store:
                    _log.warning("heartbeat: %s", str(error).splitlines()[0][:200])
                self._store = None
            if self.alone or (leaving and self._may_leave()):
                return
            began = time.monotonic()
            pause = 0.02 if leaving else self._beat_s
            self._hurry.wait(pause)
            self._hurry.clear()
            self._woke(time.monotonic() - began - pause)

    def _may_leave(self) -> bool:
        others = [beat.left for rank, (beat, _) in self._heard.items() if rank != 0]
        late = self._leave_by is not None and time.monotonic() > self._leave_by
        return self.rank != 0 or self._store is None or all(others) or late

    def _post(self, store: dist.TCPStore, left: bool) -> None:
        self._number += 1
        beat = replace(self._beat(self._number), left=left)
        store.set(self._keys[self.rank], json.dumps(asdict(beat), separators=(",", ":")))

    def _round(self, store: dist.TCPStore, leaving: bool) -> None:
        self._post(store, leaving)
        if len(self._known) < len(self._keys):  # to get what is not there waits for it
            self._known = [r for r, key in enumerate(self._keys) if r in self._known or store.check([key])]
        texts = store.multi_get([self._keys[r] for r in self._known])
        if self.store_silent_s > self.trust_s:
            self.forget()
        self._answered = now = time.monotonic()
        with self._lock:
            for rank, text in zip(self._known, texts, strict=True):
                beat = Beat(**json.loads(text))
                last = self._heard.get(rank)
                if last is None or last[0].number != beat.number:
                    self._heard[rank] = beat, now
        if self.rank != 0 and 0 in self._heard and self._heard[0][0].left:
            self.alone = True
            self._post(store, left=True)


def keep_signals_out() -> None:
    """For a thread: signals are the main thread's, and would cut short a wait in here."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2, signal.SIGTERM, signal.SIGINT})


def _client() -> dist.TCPStore:
    """A connection of its own to the store that init_process_group uses."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # The store's client tries a dead store for seconds, and a process that ends meanwhile aborts.
    socket.create_connection((address, port), timeout=_CONNECT.total_seconds()).close()
    return dist.TCPStore(address, port, None, False, _CONNECT, wait_for_workers=False)
