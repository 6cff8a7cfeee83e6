"""Scale, shown: planner, order, a round's bookkeeping and merge at up to 100 M pairs; what the recommended campaign would cost.

    python -m benchmarks.scale [--pairs 0.1 1 12 100] [--shard 1000] [--smoke] [--folder DIR] [--out FILE.md]

Out: benchmarks/results/scale.md. Corpora are manifests without pixels (benchmarks/scale/campaign.py), removed one by one.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.common.processes import ROOT, answer
from benchmarks.scale import crowd, traced
from benchmarks.scale.campaign import ROUND, STEP, make_campaign
from benchmarks.scale.cost import VIEWS, Estimate, estimates
from benchmarks.scale.page import Result, Size, Table, lies_in_memory, markdown
from launch.run_folder import RunFolder
from mlseg_dist import labelling
from mlseg_dist.run_folder import labels_folder, shards_folder
from shards.tar import index_type

_MOST_LABELLED = 20_000_000
"""Pairs up to which the round is worked through: its indices take 112 bytes a pair, written twice, and 100 M are half an hour."""
_RESUME = 700_000


def main() -> int:
    """Measure, write the page."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=float, nargs="+", default=[0.1, 1, 12, 100], help="millions")
    parser.add_argument("--shard", type=int, default=1000, help="pairs a shard (1000: 12 M in 12,000)")
    parser.add_argument("--smoke", action="store_true", help="tiny sizes, a few workers: does it run?")
    parser.add_argument("--folder", type=Path, help="where corpora lie meanwhile (4 GB for 12 M; default: TMPDIR)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/scale.md", help="where the page goes")
    options = parser.parse_args()
    sizes = [Size(2000, 20), Size(8000, 80)] if options.smoke else []
    sizes = sizes or [Size(round(m * 1e6), max(1, round(m * 1e6 / options.shard))) for m in sorted(options.pairs)]
    workers, processes, deaths = (8, 2, 2) if options.smoke else (crowd.WORKERS, crowd.PROCESSES, crowd.DEATHS)
    counted, begun, table = traced.is_there(), time.perf_counter(), Table()
    if not counted:
        print(
            "strace is missing or may not trace: file operations are not counted (apt-get install strace)",
            file=sys.stderr,
        )
    costs: list[Estimate] = []
    costed = max((size for size in sizes if size.pairs <= VIEWS), key=lambda size: size.pairs, default=sizes[0])
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="mlseg-scale-", dir=options.folder) as name:
            folder = Path(name)
            run = make_campaign(folder, size.pairs, size.shards)
            table.in_memory = lies_in_memory(folder)
            whole = size.pairs <= _MOST_LABELLED
            if not whole:
                gigabytes = 2 * index_type(3).itemsize * size.pairs / 1e9
                table.left_out.append(f"a round and its merge at {size.name} shards ({gigabytes:.0f} GB of indices).")
            if size == costed:  # first, while no round of tiny tars is there to be counted
                options.out.parent.mkdir(parents=True, exist_ok=True)
                costs = estimates(folder, options.out.with_name(f"{options.out.stem}-rates.json"))
            table.rows[size] = _measure(run, folder, whole, counted, (workers, processes, deaths))
        page = markdown(table, costs, _command(options), time.perf_counter() - begun)
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(page)
        print(f"{size.name} shards: done after {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    print(page)
    return 0


def _command(options: argparse.Namespace) -> str:
    words = ["--smoke"] if options.smoke else ["--pairs", *(f"{millions:g}" for millions in sorted(options.pairs))]
    where = ["--folder", str(options.folder)] if options.folder else []
    return " ".join(["python -m benchmarks.scale", *where, *words])


def _measure(run: RunFolder, folder: Path, whole: bool, counted: bool, size: tuple[int, int, int]) -> dict[str, Result]:
    """Part -> result. size: workers, processes and wanted deaths of the round."""
    found = {part: _job(part, run.path, counted) for part in ("decide", "plan", "units")}
    start = [
        sys.executable,
        "-m",
        "benchmarks.common.rank_start",
        str(shards_folder(run.path)),
        str(labels_folder(run.path, 1)),
        str(_RESUME),
    ]
    said = _run(start)
    found["order"] = Result({"seconds": said["start_s"], "cpu_s": said["start_cpu_s"], "peak_mib": said["peak_mib"]})
    if counted:
        found["order"].counts = traced.trace(start, run.path, cwd=ROOT)[1]
    if whole:
        found["map"] = _round(run, folder, counted, *size)
        found |= {part: _job(part, run.path, counted) for part in ("merge", "believe")}
    return found


def _job(part: str, run: Path, counted: bool) -> Result:
    command = [sys.executable, "-m", "benchmarks.scale.job", part, str(run)]
    result = Result(_run(command))
    if counted:
        result.counts = traced.trace(command, run, cwd=ROOT)[1]
    return result


def _round(run: RunFolder, folder: Path, counted: bool, workers: int, processes: int, deaths: int) -> Result:
    """The round twice: under strace into a folder that is thrown away, and timed into the one that is merged."""
    units = labelling.units(run.config(), STEP, run.path)
    deaths = max(1, min(deaths, len(units) // 100))
    task, counts = folder / "task.json", None
    command = [sys.executable, "-m", "benchmarks.scale.crowd", str(task), str(processes)]
    if counted:
        with tempfile.TemporaryDirectory(prefix="traced-", dir=folder) as name:
            crowd.write_task(task, units, Path(name), deaths, workers=workers)
            counts = traced.trace(command, Path(name), cwd=ROOT)[1]
    crowd.write_task(task, units, labels_folder(run.path, ROUND), deaths, workers=workers)
    begun, before = time.perf_counter(), os.times()
    said = _run(command)
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    note = f"{said['deaths']} processes of {workers // processes} workers killed; submitted {said['passes']} times"
    took = {"seconds": time.perf_counter() - begun, "cpu_s": cpu, "peak_mib": said["peak_mib"], "note": note}
    return Result(took, counts)


def _run(command: list[str]) -> dict[str, float]:
    """What the command says in its last line."""
    return answer(command, {"OMP_NUM_THREADS": "1"}, command[2])


if __name__ == "__main__":
    sys.exit(main())
