"""A job of gloo ranks that read, compute and sum, watched; some do what the plan says at a step.

`python -m tests.mlseg_dist.health_ranks FOLDER PLAN` is one rank. PLAN (JSON): steps; health; hosts (name per rank); slow
(rank -> seconds more in `read`); at (step -> [rank, what, seconds], what: `read`, `hold` (the interpreter), `recv`);
late (rank -> seconds of work after the last step).
"""

import ctypes
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from multiprocessing.process import BaseProcess as Process
from pathlib import Path
from typing import NamedTuple

from tests.mlseg_dist.ranks import ROOT, rank_environments

GIVEN_UP = 9


class Job:
    """Ranks as processes; what they print goes to FOLDER/rankN.log. fresh: each started anew, and ending as Python does; else
    forked, quickly, from a process that has imported torch and does nothing else."""

    def __init__(self, folder: Path, world: int, plan: dict, fresh: bool = False) -> None:
        self.folder = folder
        self.ranks: list[Process | Fresh] = []
        for rank, environment in enumerate(rank_environments(world)):
            self.ranks.append((Fresh if fresh else forked)(folder, rank, json.dumps(plan), environment))

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.ranks:
            process.kill()
            process.join()

    def wait_for(self, what, seconds: float = 60.0):
        """what() once it is true of the job; an AssertionError with the logs after so long."""
        until = time.monotonic() + seconds
        while not (found := what()):
            if time.monotonic() > until:
                raise AssertionError(self.logs())
            time.sleep(0.05)
        return found

    def reached(self, step: int) -> bool:
        return all((self.folder / f"rank{r}.step{step}").exists() for r in range(len(self.ranks)))

    def events(self, name: str) -> list[dict]:
        from mlseg_dist.events import read_events

        return [event for event in read_events(self.folder) if event["event"] == name]

    def codes(self, ranks: Iterable[int] | None = None, seconds: float = 60.0) -> list[int | None]:
        """Exit statuses, of all ranks or of those."""
        chosen = [self.ranks[r] for r in (range(len(self.ranks)) if ranks is None else ranks)]
        for process in chosen:
            process.join(seconds)
        return [process.exitcode for process in chosen]

    def logs(self) -> str:
        return "\n".join(path.read_text()[-3000:] for path in sorted(self.folder.glob("rank*.log")))


class Fresh:
    """A rank in a Python of its own, with the verbs of multiprocessing.Process."""

    def __init__(self, folder: Path, rank: int, plan: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "tests.mlseg_dist.health_ranks", str(folder), plan]
        with open(folder / f"rank{rank}.log", "w") as log:
            environment = {**os.environ, **environment}
            self._process = subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log)
        self.pid, self.kill = self._process.pid, self._process.kill

    def join(self, seconds: float | None = None) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    @property
    def exitcode(self) -> int | None:
        return self._process.poll()


def forked(folder: Path, rank: int, plan: str, environment: dict[str, str]) -> Process:
    """A rank whose parent is the fork server."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__, "torch.distributed", "mlseg_dist.config", "mlseg_dist.training.health"])
    process = context.Process(target=run_forked, args=(folder, rank, plan, environment))
    process.start()
    return process


def run_forked(folder: Path, rank: int, plan: str, environment: dict[str, str]) -> None:
    os.environ.update(environment)
    with open(folder / f"rank{rank}.log", "w") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    main(folder, json.loads(plan))


class Ranks(NamedTuple):
    rank: int
    size: int


def give_up(text: str) -> None:
    print(f"gives up: {text}", flush=True)
    os._exit(GIVEN_UP)


def main(folder: Path, plan: dict) -> None:
    import torch
    import torch.distributed as dist

    from mlseg_dist.config import HealthConfig
    from mlseg_dist.events import Events
    from mlseg_dist.training.health import Busy, Pulse, Stragglers, Watch

    dist.init_process_group("gloo")
    world = Ranks(dist.get_rank(), dist.get_world_size())
    events, pulse, health = Events(folder), Pulse(), HealthConfig(**plan["health"])
    host = plan["hosts"][world.rank]
    busy, stragglers = Busy(torch.device("cpu")), Stragglers(health.straggler)
    x = torch.randn(256, 256)
    with Watch(pulse, world, health, folder, events.log, give_up, host=host) as watch:
        for step in range(plan["steps"]):
            pulse.at("read", step)
            began = time.perf_counter()
            time.sleep(0.01 + plan.get("slow", {}).get(str(world.rank), 0.0))
            who, what, seconds = plan.get("at", {}).get(str(step), [-1, "", 0])
            if who == world.rank and what == "read":
                time.sleep(seconds)
            if who == world.rank and what == "hold":
                ctypes.PyDLL(None).sleep(seconds)
            busy.add(time.perf_counter() - began)
            pulse.at("forward", step)
            with busy:
                y = x @ x
            pulse.at("reduce", step)
            if what == "recv":
                dist.recv(y, (world.rank + 1) % world.size)
            dist.all_reduce(y)
            watch.begin()
            (folder / f"rank{world.rank}.step{step}").touch()
            if step % 5 == 4:
                all_busy = [0.0] * world.size
                dist.all_gather_object(all_busy, busy.take())
                for pace in stragglers.judge(all_busy, plan["hosts"]) if world.rank == 0 else []:
                    events.log("straggler", pace.text, rank=pace.rank, slow=pace.slow)
        pulse.at("late", plan["steps"])
        time.sleep(plan.get("late", {}).get(str(world.rank), 0.0))
    print("ended", flush=True)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
