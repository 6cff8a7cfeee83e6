"""What `quota` and `lfs quota` say of a person's limit on a file system, where a site has them."""

import getpass
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_KB = 1024
_TIMEOUT_S = 10


@dataclass(frozen=True)
class Quota:
    """used, limit: bytes.  where: file system."""

    where: str
    used: int
    limit: int


def quotas(folder: Path) -> list[Quota]:
    """Limits of this person on the folder's file system; [] where there are none, or no command says so."""
    found: list[Quota] = []
    if shutil.which("quota"):
        found += parse(_said("quota", "-w", "-p", "-f", str(folder)))
    if shutil.which("lfs"):
        found += parse(_said("lfs", "quota", "-q", "-u", getpass.getuser(), str(folder)))
    return found


def parse(text: str) -> list[Quota]:
    """Lines of `quota -w -p` and `lfs quota -q`: file system, kB used (`*`: too much), soft limit, hard limit (0: none), …"""
    found = []
    for line in text.splitlines():
        words = line.split()
        numbers = [word.rstrip("*") for word in words[1:4]]
        if len(words) < 6 or len(numbers) != 3 or not all(number.isdecimal() for number in numbers):
            continue
        used, soft, hard = (int(number) * _KB for number in numbers)
        if soft or hard:
            found.append(Quota(words[0], used, hard or soft))
    return found


def _said(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout  # `quota` exits with 1 for somebody over the limit
