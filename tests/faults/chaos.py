"""`make chaos N=100`: random faults at random steps of real training jobs; each job is started again until it is done, and must end
with the weights of the run that nothing happened to, bit by bit. Schedule K of a seed is always the same.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlseg_dist.training import checkpoint
from tests.attempt import attempt
from tests.faults.campaign import STEPS, prepare
from tests.faults.faults import FAULTS, NEEDS_MOUNT, TRACKED
from tests.faults.job import Job
from tests.mlseg_dist.prepared_run import Prepared, figures, same

STARTS = 4  # of a job until it must be done


@dataclass(frozen=True)
class Schedule:
    """One run of a fault."""

    number: int
    fault: str
    engine: str
    zero: int
    world: int
    step: int

    @property
    def setup(self) -> tuple[str, int, int]:
        return self.engine, self.zero, self.world


def schedules(number: int, seed: int) -> Iterator[Schedule]:
    """Every fault in turn, in an order of its own each round; engines, ranks and steps by chance."""
    chance = random.Random(seed)
    names: list[str] = []
    for k in range(number):
        if not names:
            names = sorted(FAULTS)
            chance.shuffle(names)
        engine, zero = chance.choice(
            [("deepspeed", 0), ("deepspeed", 0), ("ddp", 0), ("deepspeed", 1), ("deepspeed", 2)]
        )
        world = chance.choice([2, 2, 2, 4])
        yield Schedule(k, names.pop(), engine, zero, world, chance.randrange(1, STEPS - 6))


class Chaos:
    """folder: for all runs; those that went well are removed."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.prepared = prepare(folder / "prepared")
        self._references: dict[tuple[str, int, int], Prepared] = {}

    def reference(self, schedule: Schedule) -> Prepared:
        """The same job, left alone."""
        if schedule.setup not in self._references:
            name = "-".join(str(part) for part in schedule.setup)
            run = self.prepared.copy(self.folder / f"reference-{name}", engine=schedule.engine, zero=schedule.zero)
            job = Job(run, schedule.world)
            codes = job.wait()
            assert codes == [0] * schedule.world, (codes, job.said())
            self._references[schedule.setup] = run
        return self._references[schedule.setup]

    def run(self, schedule: Schedule) -> str:
        """What was done. Raises AssertionError, TimeoutError."""
        expected = self.reference(schedule)
        folder = self.folder / f"run-{schedule.number:04d}"
        run = self.prepared.copy(folder, engine=schedule.engine, zero=schedule.zero)
        if schedule.fault in TRACKED:
            tracking = run.config.tracking.model_copy(update={"enabled": True, "mode": "online"})
            run = Prepared(run.run, run.config.model_copy(update={"tracking": tracking}))
        chance = random.Random(f"{self.seed}-{schedule.number}")
        mounted = schedule.fault in NEEDS_MOUNT
        try:
            said = FAULTS[schedule.fault](run, schedule.world, schedule.step, chance)
            for _ in range(STARTS):
                job = Job(run, schedule.world)
                if job.wait() == [0] * schedule.world:
                    break
            else:
                raise AssertionError(f"not done after {STARTS} starts:\n{job.said()}")
            compare(run, expected)
        finally:
            if mounted:
                subprocess.run(["umount", run.phase], check=False)
        shutil.rmtree(folder)
        return said


def compare(run: Prepared, expected: Prepared) -> None:
    """Weights, optimizer, cursor, teacher and figures of both are the same, bit by bit."""
    mine, theirs = ends(run), ends(expected)
    for name, tensors in theirs[0].items():
        same(mine[0][name], tensors, name)
    assert mine[1:] == theirs[1:], (mine[1:], theirs[1:])


def ends(run: Prepared) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], list[dict[str, Any]]]:
    """State, cursor, teacher.json and the untimed figures of a finished phase."""
    newest = checkpoint.newest(run.phase / "checkpoints", lambda *_, **__: None)
    assert newest is not None and newest.name == f"step-{STEPS:08d}", newest
    state, cursor = checkpoint.load(newest)
    cursor.pop("made_of")
    return state, cursor, json.loads((run.phase / "teacher.json").read_text()), figures(run.phase)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", metavar="FAULT", choices=sorted(FAULTS), help="this fault alone")
    parser.add_argument("--again", nargs="+", type=int, metavar="K", help="these schedules alone, of the NUMBER")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mlseg-chaos-"))
    chaos = Chaos(folder, arguments.seed)
    failed = number = 0
    print(f"{'':4} {'fault':38} {'engine':14} ranks  step  seconds", flush=True)
    for schedule in schedules(arguments.number, arguments.seed):
        if arguments.only and schedule.fault != arguments.only:
            continue
        if arguments.again and schedule.number not in arguments.again:
            continue
        begun, number = time.monotonic(), number + 1
        whole, said = attempt(lambda s=schedule: chaos.run(s), folder / f"run-{schedule.number:04d}")
        failed += not whole
        engine = schedule.engine if not schedule.zero else f"{schedule.engine} ZeRO-{schedule.zero}"
        place = f"{schedule.number:4} {schedule.fault:38} {engine:16} {schedule.world:3} {schedule.step:5}"
        print(f"{place} {time.monotonic() - begun:8.1f}  {said}", flush=True)
    print(f"{number - failed} of {number} ended with the weights of an undisturbed run", flush=True)
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
