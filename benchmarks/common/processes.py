"""Rows as processes of their own, and the machine that they run on.

Needs the standard library only: peers import this with a Python that has nothing of ours installed.
"""

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
"""The repository, where every process starts."""
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM", "VIPS_CONCURRENCY"), "1"
)
"""Environment in which libraries start no threads of their own."""


class RowFailed(Exception):
    """A process ended with an error; the message is its last line."""


def answer(command: list[str], environment: dict[str, str], name: str, root: Path = ROOT) -> dict[str, Any]:
    """Runs `command` in `root` and returns the JSON object in the last line of its output.

    environment: changes to this process's own. name: of the row, for the message. Raises RowFailed.
    """
    ran = subprocess.run(command, cwd=root, env=os.environ | environment, capture_output=True, text=True)
    if ran.returncode:
        raise RowFailed(last_line(ran.stderr) or f"{name} ended with {ran.returncode}")
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def last_line(text: str) -> str:
    """Empty where there is none."""
    return text.strip().rpartition("\n")[2]


def peak_mib() -> float:
    """Peak resident memory of this process, MiB. (getrusage would count the parent's before exec.)"""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def memory_gib() -> float:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def machine() -> str:
    """Cores, memory and Python, without naming the machine."""
    return f"{len(os.sched_getaffinity(0))} cores, {memory_gib():.0f} GiB, Python {platform.python_version()}"
