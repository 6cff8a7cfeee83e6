"""One row on one policy in a process of its own: starts, warms up, delivers micro-batches for some seconds.

    python -m benchmarks.input.row JOB.json

Says one line of JSON: a Point. Time is the wall's; CPU time and memory are of this process and all its children.
"""

import importlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from benchmarks.common.policies import table8
from mlseg_dist.config import IGNORED, PolicyConfig
from shards.manifest import Manifest, read_manifest

POLICIES = ("base", "master-1", "master-2", "master-3", "master-4", "master-5")
SOURCES = {
    "ours": "ours:augmented",
    "loader": "loader:augmented",
    "loader-light": "loader:augmented_light",
    "dali": "dali:augmented",
    "decode": "ours:decoded",
    "read": "ours:read",
}
"""Row -> module and function that yields its micro-batches. The last two know no policy."""
BARE = ("decode", "read")
LEAST = 3
"""Micro-batches that are measured, at least."""
_MEMORY_S = 1.0

Batch = tuple[Any, Any, Any, Any]
"""high, low, high label, low label, each a sequence of B: bytes, images uint8 (S, S, 3) or labels uint8 (S, S)."""


@dataclass(frozen=True)
class Job:
    """What a row is asked for. threads: or worker processes. batch: pairs of a micro-batch. seconds: to measure, once warm."""

    row: str
    policy: str
    shards: str
    patch_px: int
    threads: int
    batch: int = 16
    seconds: float = 5.0

    @property
    def folder(self) -> Path:
        return Path(self.shards)

    def manifest(self) -> Manifest:
        return read_manifest(self.folder / "manifest.json")

    def ops(self) -> PolicyConfig:
        """The ops of the policy, from configs/augment/table8.yaml."""
        return table8()[self.policy]

    def write(self, path: Path) -> Path:
        path.write_text(json.dumps(asdict(self)))
        return path

    @classmethod
    def read(cls, path: Path) -> "Job":
        return cls(**json.loads(path.read_text()))


@dataclass(frozen=True)
class Point:
    """What a row did. processes: that make pairs. labelled: share of the first micro-batch's high label. side: of its views, px.

    peak_mib: proportional set size, this process and its children together, the most that was seen.
    """

    row: str
    policy: str
    pairs: int
    seconds: float
    cpu_s: float
    processes: int
    peak_mib: float
    labelled: float
    side: int


def source_of(job: Job) -> Callable[[Job], Iterator[Batch]]:
    module, _, function = SOURCES[job.row].partition(":")
    found: Callable[[Job], Iterator[Batch]] = getattr(importlib.import_module(f"benchmarks.input.{module}"), function)
    return found


def measure(job: Job) -> Point:
    """Raises ValueError when a row does not deliver what it should."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    batches = source_of(job)(job)
    first = next(batches)
    _check(job, first)
    for _ in range(2 * job.threads + 4):  # more than any row makes ahead
        next(batches)
    tree = Tree()
    begun, cpu, looked, peak, pairs, count = time.perf_counter(), tree.cpu_s(), 0.0, 0.0, 0, 0
    while count < LEAST or time.perf_counter() - begun < job.seconds:
        batch = next(batches)
        pairs += len(batch[2])
        count += 1
        if time.perf_counter() - looked > _MEMORY_S:
            peak, looked = max(peak, tree.mib()), time.perf_counter()
    seconds, cpu_s = time.perf_counter() - begun, tree.cpu_s() - cpu
    peak = max(peak, tree.mib())
    processes = max(1, len(tree.pids()) - 1)  # one that has children only hands on what they make
    batches.close()  # type: ignore[attr-defined]
    labelled, side = _facts(first)
    return Point(job.row, job.policy, pairs, seconds, cpu_s, processes, peak, labelled, side)


def _check(job: Job, batch: Batch) -> None:
    if any(len(part) != job.batch for part in batch):
        raise ValueError(f"a micro-batch of {[len(part) for part in batch]}, not of {job.batch}")
    if job.row in BARE:
        return
    for number, part in enumerate(batch):
        shape = (job.patch_px, job.patch_px, 3)[: 3 if number < 2 else 2]
        found = np.asarray(part)
        if found.dtype != np.uint8 or found.shape[1:] != shape:
            raise ValueError(f"patches {found.shape} of {found.dtype}")
        if number >= 2 and not set(np.unique(found)) <= {0, 1, 2, IGNORED}:
            raise ValueError(f"labels {np.unique(found)}")


def _facts(batch: Batch) -> tuple[float, int]:
    """Labelled share and side of what was decoded; for bytes, the share of samples that have a label."""
    if isinstance(batch[2][0], bytes):
        return float(np.mean([len(label) > 0 for label in batch[2]])), 0
    labels = np.stack([np.asarray(label) for label in batch[2]])
    return float((labels != IGNORED).mean()), labels.shape[1]


class Tree:
    """This process and its descendants."""

    _TICK = os.sysconf("SC_CLK_TCK")

    def pids(self) -> list[int]:
        parents = {}
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                try:
                    parents[int(path.name)] = int(_stat(path)[1])
                except OSError:
                    continue
        found = [os.getpid()]
        for pid in found:
            found += [child for child, parent in parents.items() if parent == pid]
        return found

    def cpu_s(self) -> float:
        """User and system time so far."""
        return sum(int(ticks) for pid in self.pids() for ticks in _stat(Path(f"/proc/{pid}"))[11:13]) / self._TICK

    def mib(self) -> float:
        """Proportional set size: what processes share is counted once."""
        total = 0
        for pid in self.pids():
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        return total / 1024


def _stat(process: Path) -> list[str]:
    """From the state on (its parent is next)."""
    return (process / "stat").read_text().rpartition(")")[2].split()


if __name__ == "__main__":
    print(json.dumps(asdict(measure(Job.read(Path(sys.argv[1]))))), flush=True)
