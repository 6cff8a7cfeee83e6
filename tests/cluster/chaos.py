"""`make cluster-chaos N=50`: campaigns on a real SLURM with one to three random faults at random moments. Each has
to end with the labels and the weights of the campaign that nothing happened to, bit by bit, with no patch lost or doubled.
Schedule K of a seed always has the same faults; their moments are as near as a busy machine lets them be.
"""

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.attempt import attempt
from tests.cluster.campaign import Campaign
from tests.cluster.faults import ANY, FAULTS, FOR_GOOD
from tests.cluster.slurm_host import SlurmHost


@dataclass(frozen=True)
class Schedule:
    """One campaign. faults: (phase, fault), in the order of the phases."""

    number: int
    faults: tuple[tuple[str, str], ...]

    def __str__(self) -> str:
        return ", ".join(f"{fault} in {phase}" for phase, fault in self.faults)


def schedules(number: int, seed: int, phases: Sequence[str] = ANY) -> Iterator[Schedule]:
    """Every fault in turn, in an order of its own each round; each campaign meets one to three, in these phases."""
    chance = random.Random(seed)
    where = {name: [phase for phase in can if phase in phases] for name, (_, can) in FAULTS.items()}
    names: list[str] = []
    for k in range(number):
        chosen: dict[str, str] = {}
        for _ in range(chance.choice([1, 2, 2, 3])):
            if not names:
                names = sorted(name for name, can in where.items() if can)
                chance.shuffle(names)
            free = [phase for phase in where[names[-1]] if phase not in chosen]
            if free:
                chosen[chance.choice(free)] = names.pop()
        yield Schedule(k, tuple((phase, chosen[phase]) for phase in ANY if phase in chosen))


class Chaos:
    """folder: for all runs; those that went well are removed."""

    def __init__(self, slurm: SlurmHost, folder: Path, seed: int) -> None:
        self.slurm, self.folder, self.seed = slurm, folder, seed
        self.reference = Campaign(slurm, folder / "reference")
        self.reference.start()
        self.reference.finish()
        check_counts(self.reference)
        self.expected = self.reference.ends()

    def run(self, schedule: Schedule) -> str:
        """What was done. Raises AssertionError, TimeoutError."""
        folder = self.folder / f"run-{schedule.number:04d}"
        campaign = Campaign(self.slurm, folder, self.reference, [phase for phase, _ in schedule.faults])
        self.slurm.settle(120)
        in_vain = any(fault in FOR_GOOD for _, fault in schedule.faults)
        campaign.start(*(["cluster.retries=1"] if in_vain else []))  # each retry in vain costs 20 s
        said = []
        for phase, fault in schedule.faults:
            chance = random.Random(f"{self.seed}-{schedule.number}-{phase}")
            said.append(FAULTS[fault][0](campaign, phase, chance))
        campaign.finish()
        ends = campaign.ends()
        assert ends == self.expected, (ends, self.expected)
        check_counts(campaign)
        shutil.rmtree(folder)
        return "; ".join(said)


def check_counts(campaign: Campaign) -> None:
    """Every round has all patches, each once."""
    for name, (patches, lost, doubled) in campaign.counts().items():
        assert patches and (lost, doubled) == (0, 0), f"{name}: {patches} patches, {lost} lost, {doubled} doubled"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("number", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--only", nargs="+", metavar="FAULT", choices=sorted(FAULTS), help="these, one in each campaign"
    )
    parser.add_argument("--again", nargs="+", type=int, metavar="K", help="these schedules alone, of the NUMBER")
    parser.add_argument("--phases", nargs="+", metavar="PHASE", choices=ANY, default=ANY, help="faults in these alone")
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="mlseg-cluster-"))
    failed = number = 0
    with SlurmHost(folder / "slurm") as slurm:
        begun = time.monotonic()
        chaos = Chaos(slurm, folder, arguments.seed)
        print(f"undisturbed: {time.monotonic() - begun:.0f} s, {chaos.reference.counts()}", flush=True)
        print(f"{'':4} {'faults':70} seconds", flush=True)
        for schedule in chosen(arguments.number, arguments.seed, arguments.only, arguments.phases):
            if arguments.again and schedule.number not in arguments.again:
                continue
            begun, number = time.monotonic(), number + 1
            whole, said = attempt(lambda s=schedule: chaos.run(s), folder / f"run-{schedule.number:04d}")
            if not whole:
                failed += 1
                slurm.run("scancel", "--me")
            print(f"{schedule.number:4} {schedule!s:70} {time.monotonic() - begun:7.1f}  {said}", flush=True)
    print(f"{number - failed} of {number} ended with the labels and weights of an undisturbed campaign", flush=True)
    if not failed:
        shutil.rmtree(folder)
    return 1 if failed else 0


def chosen(number: int, seed: int, only: Sequence[str] | None, phases: Sequence[str]) -> Iterator[Schedule]:
    if only is None:
        yield from schedules(number, seed, phases)
        return
    chance = random.Random(seed)
    for k in range(number):
        fault = only[k % len(only)]
        yield Schedule(k, ((chance.choice([phase for phase in FAULTS[fault][1] if phase in phases]), fault),))


if __name__ == "__main__":
    sys.exit(main())
