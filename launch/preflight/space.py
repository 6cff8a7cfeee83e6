"""space: what the campaign will still write, against what each file system and quota leaves."""

import getpass
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from launch.preflight.finding import Finding
from launch.preflight.site import Site, existing
from launch.resources.quantities import size

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


_PARTS = {"label": "labels", "train": "checkpoints and logs", "style": "styled views"}
"""Kind of phase -> what it writes, if that has another name."""
_TIGHT = 0.8
"""Preflight warns when the campaign needs more than this share of the free space."""


def space(site: Site) -> Iterator[Finding]:
    """Check the file system of the run folder, and that of the cache if it is on this machine."""
    runs = existing(site.run.path)
    need, told = expected(site)
    yield _judge("space: run folder", runs, need, told)
    for quota in quotas(runs):
        yield _within("space: quota", quota, need)
    cache = site.config.train.cache_dir
    if cache is not None and existing(cache) != Path(cache.absolute().anchor):
        most = min(round(site.config.train.cache_gb * 1e9), site.amounts.bytes["shards"])
        yield _judge("space: cache", existing(cache), most, f"at most {size(most)} of shards")


def expected(site: Site) -> tuple[int, str]:
    """Bytes that phases which are not done will write, and how they add up."""
    parts: dict[str, int] = {}
    for phase in site.left:
        part = _PARTS.get(phase.kind, phase.kind)
        parts[part] = parts.get(part, 0) + site.amounts.bytes[phase.name]
    total = sum(parts.values())
    how = "" if site.amounts.counted else " at most"
    told = " + ".join(f"{name} {size(amount)}" for name, amount in parts.items() if amount >= total / 100)
    return total, f"needs{how} {size(total)} ({told})" if total else "nothing more to write"


def _judge(name: str, folder: Path, need: int, told: str) -> Finding:
    facts = os.statvfs(folder)
    free, nodes = facts.f_bavail * facts.f_frsize, facts.f_favail
    seen = f"{told}; {size(free)} free at {folder}"
    if need > free:
        return Finding(name, "bad", seen, f"Free {size(need - free)}, or put `runs` elsewhere.")
    if need > _TIGHT * free:
        return Finding(name, "warning", seen, "Little is left: others write there too.")
    if facts.f_files and nodes < 10_000:
        return Finding(name, "warning", f"{seen}; {nodes:,} inodes left", "Remove small files.")
    return Finding(name, "ok", seen)


def _within(name: str, quota: Quota, need: int) -> Finding:
    left = quota.limit - quota.used
    seen = f"{quota.where}: {size(quota.used)} of {size(quota.limit)} used"
    if need > left:
        return Finding(name, "bad", seen, f"Free {size(need - left)}, or ask for more.")
    return Finding(name, "ok", seen)
