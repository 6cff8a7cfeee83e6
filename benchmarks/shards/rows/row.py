"""What every row of the table shares: the job, the start signal, and what is measured. Needs the standard library only.

A row is `python -m benchmarks.shards.rows.NAME JOB.json WORKER WORKERS OUT`. It imports, says `ready`, waits for a line on
stdin, works, and says last, as one line of JSON, its pairs, seconds, cpu_s, peak_mib.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.common.processes import peak_mib


class Row:
    """The part of a job that one worker does. slides: what to open and where the patches lie, see `tiles`."""

    def __init__(self, job: dict[str, Any], worker: int, workers: int, out: Path) -> None:
        self.job, self.worker, self.workers, self.out = job, worker, workers, out

    def tiles(self) -> list[tuple[dict[str, Any], list[list[float]]]]:
        """(slide, level-0 centres x, y) of this worker, row by row: its run out of a square with `share` of the slide's."""
        parts = []
        for slide in self.job["slides"]:
            chosen = _square(slide["centers"], self.job["share"], self.workers)
            first, last = (len(chosen) * number // self.workers for number in (self.worker, self.worker + 1))
            parts.append((slide, chosen[first:last]))
        return parts


def _square(centers: list[list[float]], share: float, least: int) -> list[list[float]]:
    """The centres nearest to the middle one: neighbours in both directions, as rows that share reads need them."""
    if share == 1 or not centers:
        return centers
    x0, y0 = centers[len(centers) // 2]
    by_distance = sorted(range(len(centers)), key=lambda i: max(abs(centers[i][0] - x0), abs(centers[i][1] - y0)))
    return [centers[i] for i in sorted(by_distance[: max(least, round(len(centers) * share))])]


def run(work: Callable[[Row], dict[str, float]]) -> None:
    """work returns `pairs` where it does not do them all, `seconds` and `cpu_s` where it measures them itself."""
    job_path, worker, workers, out = sys.argv[1:]
    row = Row(json.loads(Path(job_path).read_text()), int(worker), int(workers), Path(out))
    row.out.mkdir(parents=True, exist_ok=True)
    print("ready", flush=True)
    sys.stdin.readline()
    start, start_cpu = time.perf_counter(), time.process_time()
    found = work(row)
    measured = {
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - start_cpu,
        "peak_mib": peak_mib(),
    }
    print(json.dumps(measured | found), flush=True)


def finer_level(slide: Any, step: float) -> int:
    """The coarsest level of an OpenSlide slide that still has `step` level-0 px a pixel, or finer."""
    fits = [level for level, scale in enumerate(slide.level_downsamples) if scale <= step * 1.001]
    return max(fits, default=0)
