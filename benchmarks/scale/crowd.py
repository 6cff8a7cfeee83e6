"""256 workers on one round of labels, in processes that die at random and are started again, as SLURM would.

In: the units of a round. Out: the round's sidecars and records; how many processes died; peak memory.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.common.processes import ROOT
from mlseg_core.exactly_once.run import Unit

WORKERS, PROCESSES = 256, 16
DEATHS = 12
"""That a round meets on average, of small rounds one in a hundred units; each takes all workers of a process, as a node does."""
_PASSES = 5


@dataclass(frozen=True)
class Crowd:
    """What happened. passes: times that the array was submitted; more than one when a unit was at hand at three deaths."""

    deaths: int
    passes: int
    peak_mib: float


def write_task(path: Path, units: list[Unit], folder: Path, deaths: int, seed: int = 0, workers: int = WORKERS) -> None:
    """What the processes read. deaths: wanted, on average; those of a file already published cost no more than a restart."""
    rows = [(unit.name, unit.inputs, (unit.payload[3], unit.payload[4], round(unit.cost)), unit.cost) for unit in units]
    rate = deaths / max(1, len(units))
    task = {"units": rows, "folder": str(folder), "rate": rate, "seed": seed, "workers": workers}
    path.write_text(json.dumps(task))


def work(task: Path, processes: int = PROCESSES) -> Crowd:
    """Until every unit is done or the array has been submitted a few times. Raises RuntimeError for a process that fails."""
    content = json.loads(task.read_text())
    done, names = Path(content["folder"]) / "done", {row[0] for row in content["units"]}
    deaths, peak, lives = 0, 0.0, 0
    for number in range(1, _PASSES + 1):
        running = {index: _start(task, index, processes, content["workers"], lives) for index in range(processes)}
        while running:
            index, process = next(iter(running.items()))
            said, errors = process.communicate()
            if process.returncode == -9:
                deaths += 1
                lives += 1
                running.pop(index)
                running[index] = _start(task, index, processes, content["workers"], lives)
                continue
            running.pop(index)
            if process.returncode:
                raise RuntimeError(f"a process of workers failed: {errors.strip().splitlines()[-1]}")
            peak = max(peak, json.loads(said.splitlines()[-1])["peak_mib"])
        lives += 1
        if names <= {path.stem for path in done.glob("*.json")}:
            return Crowd(deaths, number, peak)
    raise RuntimeError(f"the round is not done after {_PASSES} passes")


def _start(task: Path, index: int, processes: int, workers: int, life: int) -> "subprocess.Popen[str]":
    first, last = index * workers // processes, (index + 1) * workers // processes
    command = [sys.executable, "-m", "benchmarks.scale.worker", str(task), str(first), str(last), str(life)]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def main() -> int:
    """python -m benchmarks.scale.crowd TASK.json [PROCESSES]: the same as a command, for strace."""
    print(json.dumps(asdict(work(Path(sys.argv[1]), *(int(word) for word in sys.argv[2:])))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
