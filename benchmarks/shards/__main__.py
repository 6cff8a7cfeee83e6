"""Cutting paired patches, side by side: ours, the floor, plain loops, a peer, on the same slides and the same patches.

    python -m benchmarks.shards [--slides slides.csv] [--minutes 20] [--peer-python PATH] [--out FILE.md]

Each row is a process of its own (benchmarks/shards/rows), started warm; rows take turns, forwards and backwards, until the
minutes are over, twice at least. Out: benchmarks/results/shards.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common.processes import ROOT, RowFailed
from benchmarks.shards.page import Table, about, markdown
from benchmarks.shards.race import Result, run_row, share_for
from benchmarks.shards.rows.job import write_job
from benchmarks.shards.slides import write_regions, write_slides
from mlseg_core.config import read_yaml
from mlseg_core.logs import log_as_command

REAL = ROOT / "../shared/realdata/wsi"
ROWS = ("ours", "floor", "loop_jpeg", "loop_png", "hs2p_tar")
PEERS = {"hs2p_tar": "hs2p"}
WHOLE = ("ours", "floor")
"""Rows that do all patches; the others do some seconds' worth of every slide's."""
SETS = {"dense": 64.0, "sparse": 256.0}
"""Grid step inside annotations, µm. Dense is configs/paper.yaml as it stands, without its unannotated patches."""
LARGE_PX, HUGE_PX = (16384, 12288), (40000, 32000)
_BOX_S = 12.0
_LEAST_ROUNDS = 2


def main() -> int:
    """Run the table and write it."""
    log_as_command()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shards", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--slides", type=Path, metavar="CSV", help="a slide table of your own; default: slides made here"
    )
    parser.add_argument("--minutes", type=float, default=20.0, help="repeat for so long (default: 20)")
    parser.add_argument("--peer-python", metavar="PATH", help="Python of an environment that holds the peers")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/shards.md", help="where the table goes")
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory(prefix="mlseg-bench-") as name:
        work = Path(name)
        table = options.slides or write_slides(work / "slides", REAL, cores, LARGE_PX)
        pythons, skipped = _pythons(options.peer_python)
        tables, patches = [], {}
        for title, stride_um in SETS.items():
            job = work / f"{title}.json"
            patches[title] = write_job(job, _settings(stride_um), table)
            for processes in dict.fromkeys((1, cores)):
                heading = f"{title}, {processes} process{'es' if processes > 1 else ''}"
                tables.append(Table(heading, patches[title], job, processes))
        _race(tables, pythons, skipped, work / "out", time.monotonic() + 60 * options.minutes)
        memory = _memory(work) if options.slides is None else {}
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(markdown(tables, memory, skipped, about(pythons)))
    print(options.out.read_text())
    return 0


def _settings(stride_um: float) -> dict[str, Any]:
    settings = read_yaml(ROOT / "configs/paper.yaml")["shards"]
    return settings | {"stride_um": stride_um, "tissue_stride_um": 0.0}


def _pythons(peer: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """Row -> Python that runs it; row -> why it is left out."""
    pythons, skipped = {}, {}
    for row in ROWS:
        if row not in PEERS:
            pythons[row] = sys.executable
        elif peer is None:
            skipped[row] = "no --peer-python"
        elif subprocess.run([peer, "-c", f"import {PEERS[row]}, openslide"], capture_output=True).returncode:
            skipped[row] = f"{PEERS[row]} and openslide cannot be imported by --peer-python"
        else:
            pythons[row] = peer
    return pythons, skipped


def _race(tables: list[Table], pythons: dict[str, str], skipped: dict[str, str], out: Path, until: float) -> None:
    shares: dict[tuple[str, str], float] = {}
    rounds = 0
    while rounds < _LEAST_ROUNDS or time.monotonic() < until:
        for table in tables:
            for row in (list(pythons), list(reversed(pythons)))[rounds % 2]:
                if row in skipped:
                    continue
                key = (table.title, row)
                try:
                    if key not in shares:
                        whole = row in WHOLE
                        shares[key] = (
                            1.0 if whole else share_for(row, pythons[row], table.job, table.processes, out, _BOX_S)
                        )
                    result = run_row(row, pythons[row], table.job, table.processes, out, shares[key])
                except RowFailed as error:
                    skipped[row] = str(error)
                    continue
                table.add(row, result)
                print(f"{table.title}  {row}  {result.pairs / result.seconds:.1f} pairs/s", file=sys.stderr, flush=True)
        rounds += 1


def _memory(work: Path) -> dict[str, Result]:
    """Ours on one slide, small, large and huge, one process, sparse seeds all over."""
    found = {}
    for title, size in {"small": (2048, 2048), "large": LARGE_PX, "huge": HUGE_PX}.items():
        folder = work / f"memory-{title}"
        table = write_slides(folder, REAL / "none", 1, size)
        write_regions(folder / "large-0.geojson", size, seed=0, across=20)
        job = work / f"memory-{title}.json"
        write_job(job, _settings(256.0), table)
        result = run_row("ours", sys.executable, job, 1, work / "out")
        found[f"{title}, {size[0]} × {size[1]} px"] = result
        print(f"memory  {title}  {result.peak_mib:.0f} MiB", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())
