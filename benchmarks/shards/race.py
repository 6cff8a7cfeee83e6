"""Runs rows against each other: worker processes that start together, and what came of it."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.common.processes import ONE_THREAD, ROOT, RowFailed, last_line
from benchmarks.shards.rows.job import load
from shards import cutting

_PROBE = 0.004  # share of the patches that tells how fast a row is


@dataclass
class Result:
    """One run of a row, all its workers together. peak_mib: of the largest worker. extra: what else the row reports."""

    pairs: int
    seconds: float
    cpu_s: float
    peak_mib: float
    mb: float
    extra: dict[str, float] = field(default_factory=dict)


def share_for(name: str, python: str, job: Path, processes: int, out: Path, seconds: float) -> float:
    """How much of every slide's patches the row does in about so many seconds. Raises RowFailed."""
    probe = run_row(name, python, job, processes, out, _PROBE)
    count = sum(len(slide["centers"]) for slide in json.loads(job.read_text())["slides"])
    return min(1.0, seconds * probe.pairs / probe.seconds / count)


def run_row(name: str, python: str, job: Path, processes: int, out: Path, share: float = 1.0) -> Result:
    """Start the workers, wait until all have imported, let them go, wait for the last. Raises RowFailed."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    path = _with_share(job, share)
    workers = [_start(name, python, path, number, processes, out) for number in range(processes)]
    ready = all([worker.stdout is not None and worker.stdout.readline() == "ready\n" for worker in workers])
    start = time.perf_counter()
    for worker in workers:
        if ready and worker.stdin is not None:
            worker.stdin.write("go\n")
            worker.stdin.flush()
    said = [worker.communicate() for worker in workers]
    seconds = time.perf_counter() - start
    for worker, (_, errors) in zip(workers, said, strict=True):
        if worker.returncode or not ready:
            raise RowFailed(f"{name}: {last_line(errors) or 'it ended without a message'}")
    results = [json.loads(lines.splitlines()[-1]) for lines, _ in said]
    mb = sum(file.stat().st_size for file in out.rglob("*") if file.is_file()) / 1e6
    if name == "ours":
        config, table = load(json.loads(path.read_text()))
        start = time.perf_counter()
        results[0]["pairs"] = cutting.write_manifest(config, table, cutting.units(config, table), out).totals["samples"]
        seconds += time.perf_counter() - start
    elif name == "floor":
        seconds, mb = max(result["seconds"] for result in results), 0.0
    shutil.rmtree(out)
    return _together(results, seconds, mb)


def _with_share(job: Path, share: float) -> Path:
    path = job.with_name(f"part-{job.name}")
    path.write_text(json.dumps(json.loads(job.read_text()) | {"share": share}))
    return path


def _start(name: str, python: str, job: Path, number: int, processes: int, out: Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [python, "-m", f"benchmarks.shards.rows.{name}", str(job), str(number), str(processes), str(out)],
        cwd=ROOT,
        env=os.environ | ONE_THREAD,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _together(results: list[dict[str, float]], seconds: float, mb: float) -> Result:
    totals = {key: sum(result.get(key, 0.0) for result in results) for key in {key for r in results for key in r}}
    known = ("pairs", "seconds", "cpu_s", "peak_mib")
    extra = {key: value for key, value in totals.items() if key not in known}
    peak = max(result["peak_mib"] for result in results)
    return Result(int(totals["pairs"]), seconds, totals["cpu_s"], peak, mb, extra)
