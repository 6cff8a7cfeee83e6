"""What the system knows of a process of this host (/proc), and the stacks of this one."""

import faulthandler
import os
import sys
from pathlib import Path
from types import FrameType

_STATES = {
    "R": "running",
    "S": "sleeping",
    "D": "waits for a disk or the network",
    "T": "stopped",
    "t": "stopped by a debugger",
    "Z": "dead, not reaped",
    "X": "dead",
}


def born(pid: int) -> int:
    """Clock ticks from the host's start to the process's, which tells two processes with one pid apart; 0: none such."""
    fields = _stat(pid)
    return int(fields[19]) if fields else 0


def state(pid: int, birth: int) -> str:
    """`T (stopped)`, and where in the kernel its main thread sleeps. birth: what born(pid) said while it was well."""
    fields = _stat(pid)
    if not fields or int(fields[19]) != birth:
        return "gone" if Path("/proc/self/stat").exists() else "unknown: no /proc"
    letter = fields[0]
    where = _where_in_kernel(pid) if letter in "SD" else ""
    return f"{letter} ({_STATES.get(letter, '?')})" + (f" in {where}" if where else "")


def _stat(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; the second is a name in brackets that may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _where_in_kernel(pid: int) -> str:
    """Kernel functions, innermost first; /proc/PID/stack is for root, wchan names one or `0`."""
    try:
        lines = Path(f"/proc/{pid}/stack").read_text().splitlines()[:3]
        return " < ".join(line.split()[1].partition("+")[0] for line in lines)
    except (OSError, IndexError):
        pass
    try:
        return Path(f"/proc/{pid}/wchan").read_text().strip("0\n")
    except OSError:
        return ""


def line_of(thread: int, depth: int = 3) -> str:
    """`file.py:88 read < loop.py:12 train`: the innermost Python frames of a thread of this process."""
    frame: FrameType | None = sys._current_frames().get(thread)
    found: list[str] = []
    while frame and len(found) < depth:
        found.append(f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno} {frame.f_code.co_name}")
        frame = frame.f_back
    return " < ".join(found)


def stacks() -> bytes:
    """All threads' Python stacks. By way of memory: faulthandler holds the interpreter while it writes, and a disk may hang."""
    handle = os.memfd_create("stacks")
    try:
        faulthandler.dump_traceback(handle, all_threads=True)
        os.lseek(handle, 0, os.SEEK_SET)
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)
