"""The machine that this process runs on."""

import os
import socket


def node_name() -> str:
    """SLURM's name of it, which its commands take, else the system's."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()
