"""What a command asks of the file system under one folder, counted by strace.

In: a command, a folder. Out: calls by name, bytes read and written. Calls on paths elsewhere (Python's own files) do not count.
"""

import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

METADATA = (
    *("open", "openat", "creat", "stat", "lstat", "newfstatat", "statx", "access", "faccessat", "faccessat2"),
    *("readlink", "readlinkat", "rename", "renameat", "renameat2", "link", "linkat", "symlink", "symlinkat"),
    *("unlink", "unlinkat", "rmdir", "mkdir", "mkdirat", "getdents64", "truncate", "chmod", "fchmodat", "utimensat"),
)
"""Calls that a parallel file system answers from its metadata server; a stat of an open file is not one of them."""
SYNCS = ("fsync", "fdatasync")
_READS = ("read", "pread64", "readv", "preadv", "sendfile", "copy_file_range")
_WRITES = ("write", "pwrite64", "writev", "pwritev")
_MINUS = 1 << 63
_LINE = re.compile(r"^(?P<pid>\d+) +(?:<\.\.\. (?P<resumed>\w+) resumed>|(?P<name>\w+)\()")
_RESULT = re.compile(r"\) += (\d+)$")
_OF_OPEN_FILE = re.compile(r"^\d+ +(?:newfstatat|statx)\(\d+<[^>]*>, \"\"")


@dataclass
class Counts:
    """calls: name -> number, `fstat` for a stat of an open file. read, written: bytes."""

    calls: Counter[str] = field(default_factory=Counter)
    read: int = 0
    written: int = 0

    @property
    def metadata(self) -> int:
        return sum(self.calls[name] for name in METADATA)

    @property
    def syncs(self) -> int:
        return sum(self.calls[name] for name in SYNCS)


def is_there() -> bool:
    """False: install it (apt-get install strace), or it may not trace here."""
    strace = shutil.which("strace")
    return (
        strace is not None and subprocess.run([strace, "-qq", "-o", "/dev/null", "true"], check=False).returncode == 0
    )


def trace(command: Sequence[str], folder: Path, **options: object) -> tuple[str, Counts]:
    """Run it under strace with all its children. Returns what it printed. Raises CalledProcessError."""
    calls = ",".join(f"?{name}" for name in (*METADATA, *SYNCS, *_READS, *_WRITES))
    with tempfile.TemporaryDirectory() as name:
        log = Path(name) / "log"
        words = [
            "strace",
            "-f",
            "--seccomp-bpf",
            "-qq",
            "-y",
            "-s",
            "0",
            "-e",
            "signal=none",
            "-o",
            str(log),
            "-e",
            f"trace={calls}",
        ]
        answer = subprocess.run([*words, *command], capture_output=True, text=True, check=True, **options)  # type: ignore[call-overload]
        with open(log, encoding="utf-8", errors="replace") as lines:
            return answer.stdout, count(lines, folder)


def count(lines: Iterable[str], folder: Path) -> Counts:
    """lines: of `strace -f -y -o`; a call that another thread interrupts comes in two parts and counts once."""
    counts, begun = Counts(), {}
    inside = str(folder)
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            continue
        pid, name = found["pid"], found["name"]
        if name is not None:
            if inside not in line:
                continue
            counts.calls["fstat" if _OF_OPEN_FILE.match(line) else name] += 1
            if line.rstrip().endswith("<unfinished ...>"):
                begun[pid] = name
                continue
        elif begun.pop(pid, None) != found["resumed"]:
            continue
        name = name or found["resumed"]
        result = _RESULT.search(line.rstrip())
        moved = int(result[1]) if result else 0
        if moved >= _MINUS:
            continue  # cut off by SIGKILL: an error code that strace prints without its sign
        counts.read += moved * (name in _READS)
        counts.written += moved * (name in _WRITES)
    return counts
