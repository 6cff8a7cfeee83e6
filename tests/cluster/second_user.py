"""Somebody else on this machine: commands run under another uid, that read everything and own nothing."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.cluster.commands import PROJECT

UID, NAME = 65534, "nobody"


def need_root() -> None:
    """Skip where no command can be run as another user."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("NOT TESTED with a second user: only root can be two users")


def as_nobody(environment: dict[str, str], home: Path, *words: object) -> subprocess.CompletedProcess[str]:
    """`mlseg WORDS` as nobody, who reads what root can read (the interpreter, the run folder), and writes in `home` only."""
    home.mkdir(exist_ok=True)
    for folder in home.parents:  # pytest's folders are its user's alone; with pytest-xdist there is one more of them
        if folder == Path(tempfile.gettempdir()) or folder.stat().st_mode & 0o005 == 0o005:
            break
        folder.chmod(folder.stat().st_mode | 0o055)
    os.chown(home, UID, UID)
    who = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
    who += [
        "--inh-caps=-all,+dac_read_search",
        "--ambient-caps=-all,+dac_read_search",
        "--bounding-set=-all,+dac_read_search",
    ]
    command = [*who, sys.executable, "-m", "launch.cli", *map(str, words)]
    environment = {**environment, "HOME": str(home), "TMPDIR": str(home), "PYTHONPATH": str(PROJECT)}
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=False, timeout=120)
