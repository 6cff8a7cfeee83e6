"""Temporary folders `.tmp-MACHINE-PID-START-RANDOM-NAME` beside checkpoints, and what to do with those of killed writers.

The name tells the very process that writes: machine is a hash of boot and PID namespace, start its start time in clock ticks.
Another attempt of the phase may be writing at the same moment, on any machine. So a folder is a left-over when its process is gone
from this machine, or, where that cannot be seen from here, when nothing in it has changed for a day. If such a writer lives all
the same (its disk hung for a day), it meets a folder that is gone, which is a failed save, never a damaged checkpoint.
"""

import functools
import hashlib
import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from mlseg_core.files import TEMPORARY
from mlseg_core.own import is_temporary, remove_own, walk_files
from mlseg_dist.training.checkpoint.layout import META, own_names

_DAY_S = 86400.0
_NAME = re.compile(re.escape(TEMPORARY) + r"([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}-.+")


def temporary_for(target: Path) -> Path:
    """A fresh name in the target's folder that tells who writes there."""
    machine, pid = _machine() or "0" * 8, os.getpid()
    return target.parent / f"{TEMPORARY}{machine}-{pid}-{_start(pid) or 0}-{secrets.token_hex(4)}-{target.name}"


def set_aside(path: Path) -> Path:
    """Make it a temporary: gone at once for those who look for its name. Raises OSError."""
    aside = temporary_for(path.with_name("leftover") if path.name.startswith(TEMPORARY) else path)
    os.rename(path, aside)
    return aside


def remove(path: Path) -> list[str]:
    """Delete a checkpoint, or a left-over: our own files in it. Returns the names that stay, which somebody else put there.

    Without such files it is set aside first, so that its name is gone at once. A symbolic link stays.
    Raises OSError when it keeps its name although it holds nothing else.
    """
    if path.is_symlink():
        return [path.name]
    if path.is_file():
        path.unlink(missing_ok=True)
        return []
    ours = own_names(path)
    if all(name in ours for name in walk_files(path)):
        path = set_aside(path)
    # Without META.json it counts no more, so that goes first: a kill in between leaves no half checkpoint that looks whole.
    (path / META).unlink(missing_ok=True)
    return remove_own(path, ours.__contains__)


def give_back(old: Path, target: Path) -> None:
    """What a checkpoint that was replaced held besides our own files goes into the one in its place."""
    for entry in old.iterdir():
        if not (target / entry.name).exists():
            os.rename(entry, target / entry.name)
    with suppress(OSError):
        old.rmdir()


def sweep(folder: Path) -> list[str]:
    """Remove what killed writers left in `folder`; returns the names. Names that are not of our form are somebody else's."""
    gone = []
    for path in sorted(folder.glob(f"{TEMPORARY}*")):
        try:
            is_own = _NAME.fullmatch(path.name) if path.is_dir() else is_temporary(path.name)
            if is_own and not path.is_symlink() and _is_leftover(path) and not remove(path):
                gone.append(path.name)
        except OSError:  # another attempt sweeps too
            continue
    return gone


def _is_leftover(path: Path) -> bool:
    match = _NAME.fullmatch(path.name)
    if match and match[1] == _machine():
        return _start(int(match[2])) != int(match[3])
    inside = path.iterdir() if path.is_dir() else ()
    return time.time() - max(part.lstat().st_mtime for part in (path, *inside)) > _DAY_S


@functools.cache
def _machine() -> str | None:
    """Processes with one answer see each other in /proc; None: no such thing here."""
    try:
        seen = Path("/proc/sys/kernel/random/boot_id").read_text() + os.readlink("/proc/self/ns/pid")  # noqa: PTH115
    except OSError:
        return None
    return hashlib.sha256(seen.encode()).hexdigest()[:8]


def _start(pid: int) -> int | None:
    """Start time of a living process, clock ticks since boot; None: there is none of that number."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])
