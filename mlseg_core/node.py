"""The machine that this process runs on, its users and its processes."""

import os
import pwd
import socket
from collections.abc import Mapping
from pathlib import Path


def node_name() -> str:
    """SLURM's name of it, which its commands take, else the system's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def user_name(uid: int) -> str:
    """Login name; `user 1234` where this machine does not know it."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def process_exists(pid: int, born: int = 0) -> bool:
    """True for a living process of this machine, whoever owns it. born: process_born(pid) of the one that is meant; 0: any."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it belongs to somebody else
    now = process_born(pid)
    return not born or not now or now == born


def process_born(pid: int) -> int:
    """Clock ticks from the machine's start to the process's; tells two processes of one pid apart. 0 where /proc does not say."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except (OSError, IndexError, ValueError):
        return 0


def number_in(environment: Mapping[str, str], name: str) -> int | None:
    """A variable's value as a number from 0; None where it is not set, empty, or something else such as SLURM's `2(x3)`."""
    value = environment.get(name, "").strip()
    return int(value) if value.isascii() and value.isdecimal() else None
