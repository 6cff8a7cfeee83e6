"""Runs rows against each other, one process at a time, and keeps what each said."""

import statistics
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from benchmarks.common.processes import RowFailed, answer
from benchmarks.model.counting import Op, Roofs
from benchmarks.model.row import Job, Point

PARTS = {"label": "Labelling (forward, evaluation mode)", "train": "Training step (forward, loss, backward, Adam)"}


@dataclass
class Race:
    """What came of it. about: of each row; points: (row, work, batch) -> one a round; skipped: row -> why."""

    about: dict[str, dict[str, Any]] = field(default_factory=dict)
    points: dict[tuple[str, str, int], list[Point]] = field(default_factory=dict)
    roofs: list[dict[str, float]] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    rounds: int = 0

    def add(self, row: str, said: dict[str, Any]) -> None:
        self.about[row] = said["about"]
        for fields in said["points"]:
            point = Point(**fields)
            self.points.setdefault((row, point.work, point.batch), []).append(point)

    def ms(self, key: tuple[str, str, int]) -> float:
        """Time of a batch, the median of the rounds."""
        return statistics.median(point.ms for point in self.points[key])

    def spread_ms(self, key: tuple[str, str, int]) -> tuple[float, float]:
        """The fastest and the slowest round."""
        found = [point.ms for point in self.points[key]]
        return min(found), max(found)

    def rate(self, key: tuple[str, str, int]) -> float:
        """Pairs a second."""
        return 1000 * key[2] / self.ms(key)

    def peak_mib(self, key: tuple[str, str, int]) -> float:
        return max(point.peak_mib for point in self.points[key])

    def best(self) -> Roofs:
        """The highest of the rounds; for multiply-adds the faster of products and convolutions."""
        top = {name: max(roofs[name] for roofs in self.roofs) for name in self.roofs[0]}
        return Roofs(max(top["matmul_s"], top["conv_s"]), top["bytes_s"])

    def floors_ms(self, key: tuple[str, str, int]) -> dict[str, float]:
        """arithmetic, traffic and roofline of a batch. Operators are counted in the first round."""
        ops = [Op("", macs, moved) for point in self.points[key] for macs, moved in point.ops]
        return {name: 1000 * seconds for name, seconds in self.best().floors(ops).items()}


def run_round(race: Race, jobs: dict[str, Job], backwards: bool) -> None:
    """Measure the roofs, then every row once. A row that fails is left out from then on."""
    some = next(iter(jobs.values()))
    race.roofs.append(_said("roofs", some.device, str(some.threads), threads=some.threads))
    for row in reversed(jobs) if backwards else jobs:
        if row in race.skipped:
            continue
        try:
            said = run_row(replace(jobs[row], count=row not in race.about))
        except RowFailed as error:
            race.skipped[row] = str(error)
            continue
        race.add(row, said)
        for point in said["points"]:
            print(f"{row}  {point['work']}  {point['batch']}: {point['ms']:.0f} ms", file=sys.stderr, flush=True)
    race.rounds += 1


def run_row(job: Job) -> dict[str, Any]:
    """One row in its process. Raises RowFailed."""
    with tempfile.TemporaryDirectory(prefix="mlseg-bench-") as folder:
        return _said("row", str(job.write(Path(folder) / "job.json")), threads=job.threads)


def _said(module: str, *arguments: str, threads: int) -> dict[str, Any]:
    environment = {"OMP_NUM_THREADS": str(threads)} if threads else {}
    return answer([sys.executable, "-m", f"benchmarks.model.{module}", *arguments], environment, module)
