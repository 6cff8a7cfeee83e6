"""A running training job: its ranks as processes of their own, watched from outside."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.mlseg_dist.prepared_run import STEP, Prepared
from tests.mlseg_dist.ranks import ROOT, rank_environments

PATIENCE_S = 180.0


class Job:
    """Starts `world` ranks of the prepared step. variables: added to their environment."""

    def __init__(self, prepared: Prepared, world: int, variables: dict[str, str] | None = None) -> None:
        self.prepared, self.world = prepared, world
        config = prepared.run / "config.json"
        config.write_text(prepared.config.model_dump_json())
        command = [sys.executable, "-m", "tests.faults.rank", str(prepared.run), str(config), str(STEP)]
        self.ranks = []
        for rank, place in enumerate(rank_environments(world)):
            with open(self.log(rank), "a") as log:
                environment = {**os.environ, **place, **(variables or {})}
                self.ranks.append(subprocess.Popen(command, env=environment, cwd=ROOT, stdout=log, stderr=log))

    def log(self, rank: int) -> Path:
        return self.prepared.run / f"rank-{rank}.log"

    @property
    def step(self) -> int:
        """Optimizer steps done, by metrics.jsonl."""
        try:
            lines = (self.prepared.phase / "metrics.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return 0
        steps = [json.loads(line)["step"] for line in lines if line.endswith("}")]
        return max(steps, default=0)

    @property
    def ended(self) -> bool:
        return all(rank.poll() is not None for rank in self.ranks)

    def wait_for(self, what, patience_s: float = PATIENCE_S) -> bool:
        """Until what() holds; False: all ranks ended before. Raises TimeoutError."""
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            if what():
                return True
            if self.ended:
                return bool(what())
            time.sleep(0.002)
        self.signal(signal.SIGKILL)
        raise TimeoutError(f"nothing came of it in {patience_s:.0f} s:\n{self.said()}")

    def signal(self, number: int, ranks: list[int] | None = None) -> None:
        for rank in range(self.world) if ranks is None else ranks:
            if self.ranks[rank].poll() is None:
                self.ranks[rank].send_signal(number)

    def wait(self, patience_s: float = PATIENCE_S) -> list[int]:
        """Exit statuses of all ranks; once one has ended badly the others get 30 s and are killed, as srun does."""
        deadline = time.monotonic() + patience_s
        while not self.ended:
            if any(rank.poll() not in (None, 0, 75) for rank in self.ranks):
                deadline = min(deadline, time.monotonic() + 30)
            if time.monotonic() > deadline:
                self.signal(signal.SIGKILL)
                break
            time.sleep(0.01)
        return [rank.wait(30) for rank in self.ranks]

    def said(self) -> str:
        return "\n".join(self.log(rank).read_text()[-2500:] for rank in range(self.world))
