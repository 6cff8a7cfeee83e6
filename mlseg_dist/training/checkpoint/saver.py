"""Saves checkpoints while training goes on: the caller waits for a copy in memory, one thread writes it to disk."""

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlseg_core.files import fsync_folder, write_atomic
from mlseg_core.own import remove_own
from mlseg_dist.events import LogEvent
from mlseg_dist.training.checkpoint.host_copy import HostCopy
from mlseg_dist.training.checkpoint.layout import LATEST, check_names, own_names, step_folder, step_folders, write_files
from mlseg_dist.training.checkpoint.leftovers import give_back, remove, set_aside, sweep, temporary_for
from mlseg_dist.training.checkpoint.reading import Damaged, damage, read_meta

_REMEDIES = {
    errno.ENOSPC: "The disk is full: free space there",
    errno.EDQUOT: "The quota is used up: free space there or have it raised",
    errno.ENOENT: "The folder is gone: is the file system still mounted?",
    errno.ESTALE: "The folder is gone: is the file system still mounted?",
    errno.EROFS: "The file system is read-only: its server or disk has a problem",
    errno.EACCES: "Writing there is not allowed: have its permissions changed",
    errno.EPERM: "Writing there is not allowed: have its permissions changed",
    errno.EIO: "The disk or its server fails: see its logs",
}
_RETRY_S = 2.0


class NotSaved(RuntimeError):
    """The last checkpoint could not be written; older ones are as they were."""


@dataclass(frozen=True, eq=False)
class _Held:
    """A checkpoint in memory that is not on disk yet."""

    step: int
    memory: HostCopy
    state: dict[str, Any]
    cursor: bytes


class Saver:
    """Rank 0's; one at a time in a folder. Keeps the newest `keep`, the best, and every `keep_every`-th step (but not step 0).

    resumed: the step of the checkpoint that this start goes on from, 0 where none verified: what lies beyond it is damaged or
    abandoned, does not count as kept, and goes once training has passed it. None: all that lies there counts.
    log_event: called from the writing thread too.

    A checkpoint that cannot be written stops nothing: it is told as `checkpoint-failed`, stays in memory while it is the newest or
    the best, and is tried again at the next save and by wait(). No old checkpoint is removed meanwhile. A checkpoint is written
    only after the best that its cursor names, so whatever newest() finds has its best beside it.
    """

    slow_s = 30.0
    """Where training has to wait longer for the write before, that is told."""

    def __init__(
        self, folder: Path, keep: int, keep_every: int | None, log_event: LogEvent, resumed: int | None = None
    ) -> None:
        self.folder, self._keep, self._keep_every, self._log_event = folder, keep, keep_every, log_event
        self._resumed, self._written, self._best = resumed, set[int](), -1
        self._held: list[_Held] = []
        self._free: list[HostCopy] = []
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        self._told_kept = False
        self.seconds = {"wait": 0.0, "copy": 0.0, "write": 0.0}
        """Seconds of the last save: the caller's wait for the one before, the caller's copy, the thread's writing (0
        while it writes).
        """
        self.bytes = 0
        """Size of the last checkpoint written."""
        left = sweep(folder)
        if left:
            log_event(
                "checkpoint-leftovers", f"removed what {len(left)} killed saves left in {folder}", "info", names=left
            )

    @property
    def failed(self) -> bool:
        """The newest checkpoint could not be written so far."""
        return self._error is not None

    def save(self, step: int, state: dict[str, Any], cursor: dict[str, Any], best: int | None = None) -> None:
        """Returns once `state` (state dicts by name) is copied; waits for the save before. best: a step never to be removed.

        Raises TypeError or ValueError for what no checkpoint can hold.
        """
        check_names(state)
        text = json.dumps(cursor, indent=1).encode()
        begun = time.monotonic()
        self.join()
        waited = time.monotonic()
        self._best = -1 if best is None else best
        self._drop([held for held in self._held if held.step == step or held.step != best])
        memory = self._free.pop() if self._free else HostCopy()
        self._held.append(_Held(step, memory, memory.take(state), text))
        self.seconds = {"wait": waited - begun, "copy": time.monotonic() - waited, "write": 0.0}
        # Not a daemon: when training ends with an error, the interpreter waits until what is being written is on disk.
        self._thread = threading.Thread(target=self._write_held, name="checkpoint")
        self._thread.start()

    def wait(self, patience_s: float = 0.0, again: Callable[[], object] = lambda: None) -> None:
        """Until the newest is on disk; what has failed is tried again, for so long. Raises NotSaved, from what failed.

        again: called before each new try.
        """
        self.join()
        until = time.monotonic() + patience_s
        while self._held and not self._write_held(again=True):
            left = until - time.monotonic()
            if left <= 0:
                raise NotSaved(self._not_on_disk()) from self._error
            time.sleep(min(_RETRY_S, left))
            again()

    def rewind(self, step: int) -> None:
        """Training goes back to `step`: checkpoints of later steps are abandoned and removed, on disk and in memory."""
        self.join()
        self._drop([held for held in self._held if held.step > step])
        if not self._held:
            self._error = None
        self._written = {written for written in self._written if written <= step}
        self._remove([path for later, path in self._on_disk().items() if later > step])

    def close(self) -> None:
        """join(), and free the memory; what is not on disk by now was told, and is given up."""
        self.join()
        self._held, self._free = [], []

    def join(self) -> None:
        """Wait for the write in flight, however it ends."""
        if self._thread is None:
            return
        self._thread.join(self.slow_s)
        if self._thread.is_alive():
            text = f"training waits for the checkpoint before to be written in {self.folder}: the disk is slow or hangs"
            self._log_event("checkpoint-slow", f"{text}; {self.slow_s:g} s so far", folder=str(self.folder))
            self._thread.join()
        self._thread = None

    def _drop(self, those: list[_Held]) -> None:
        self._held = [held for held in self._held if held not in those]
        self._free += [held.memory for held in those]

    def _write_held(self, again: bool = False) -> bool:
        """Oldest first. again: a failure was told already."""
        begun = time.monotonic()
        try:
            for held in list(self._held):
                self._write(held)
                self._drop([held])
        except Exception as error:  # of whatever kind: training must not end because of it
            self._error = error
            if not again:
                steps, free = [held.step for held in self._held], _free_bytes(self.folder)
                facts = {"steps": steps, "error": str(error), "folder": str(self.folder), "free_bytes": free}
                text = (
                    f"{self._not_on_disk()} Training goes on, older checkpoints are kept; tried again at the next save."
                )
                self._log_event("checkpoint-failed", text, level="error", **facts)
            return False
        self.seconds["write"] = time.monotonic() - begun
        if self._error is not None:
            self._error = None
            self._log_event("checkpoint-recovered", f"checkpoints are written again in {self.folder}", level="info")
        self._retain()
        return True

    def _write(self, held: _Held) -> None:
        self.folder.mkdir(exist_ok=True)
        target = step_folder(self.folder, held.step)
        temporary = temporary_for(target)
        try:
            temporary.mkdir()
            meta = write_files(temporary, held.step, held.state, held.cursor)
            if not _holds(target, meta):
                _put(temporary, target)
            fsync_folder(self.folder)
        finally:
            remove_own(temporary, lambda name: True)  # of this process alone; gone already where all went well
        self.bytes = sum(entry["bytes"] for entry in meta["files"].values())
        self._written.add(held.step)
        try:
            write_atomic(self.folder / LATEST, target.name)
        except OSError as error:
            self._log_event("checkpoint-latest", f"{target} is saved, but {LATEST} could not be written: {error}")

    def _retain(self) -> None:
        """Later steps than the present one are another attempt's, or damaged and not yet passed: they stay."""
        present = max(self._written)
        passed = {step: path for step, path in self._on_disk().items() if step <= present}
        counted = [step for step in passed if step in self._written or self._resumed is None or step <= self._resumed]
        kept = {*counted[-self._keep :], self._best}
        if self._keep_every is not None:
            kept |= {step for step in counted if step > 0 and step % self._keep_every == 0}
        self._remove([path for step, path in passed.items() if step not in kept])

    def _remove(self, paths: list[Path]) -> None:
        for path in paths:
            try:
                stay = remove(path)
                if stay:
                    self._tell_once(f"files that are not ours stay in {path}: {', '.join(stay[:3])}")
            except FileNotFoundError:  # another attempt of the phase has removed it
                continue
            except OSError as error:
                self._tell_once(f"an old checkpoint cannot be removed: {path}: {error}")

    def _on_disk(self) -> dict[int, Path]:
        try:
            return step_folders(self.folder)
        except OSError as error:
            self._tell_once(f"old checkpoints cannot be listed: {self.folder}: {error}")
            return {}

    def _tell_once(self, text: str) -> None:
        if not self._told_kept:
            self._told_kept = True
            self._log_event("checkpoint-kept", text)

    def _not_on_disk(self) -> str:
        steps = ", ".join(str(held.step) for held in self._held)
        remedy = _REMEDIES.get(getattr(self._error, "errno", None) or 0, "See the log")
        return f"Checkpoint of step {steps} is not on disk: {self.folder}: {self._error!r}. {remedy}."


def _holds(target: Path, meta: dict[str, Any]) -> bool:
    """These very files lie there already and are whole: another attempt of the phase was first, or they were saved twice."""
    try:
        return read_meta(target) == meta["files"] and not damage(target)
    except Damaged:
        return False


def _put(temporary: Path, target: Path) -> None:
    """Give a whole checkpoint its name, in the place of what may have it."""
    old = set_aside(target) if target.exists() else None
    try:
        os.rename(temporary, target)
    except OSError:
        if old is not None:
            os.rename(old, target)
        raise
    if old is not None:
        ours = own_names(old)
        if remove_own(old, ours.__contains__):
            give_back(old, target)


def _free_bytes(folder: Path) -> int | None:
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None
