"""Train a step of a tiny run on real gloo ranks, in processes of their own, with a stop or a kill at a chosen step.

`python -m tests.mlseg_dist.ranks RUN CONFIG STEP STOP_AT KILL_AT` is one rank.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
INTERRUPTED = 75


def run_ranks(run: Path, config, step: int, world: int = 2, stop_at: int = -1, kill_at: int = -1) -> list[int]:
    """Exit statuses of the ranks. stop_at, kill_at: number of optimizer steps of this start after which rank 0 does so."""
    (run / "config.json").write_text(config.model_dump_json())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ranks = []
    for rank in range(world):
        environment = {
            **os.environ,
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(world),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.mlseg_dist.ranks", run, run / "config.json", step, stop_at, kill_at]
        log = open(run / f"rank{rank}.log", "a")  # noqa: SIM115
        ranks.append(subprocess.Popen([str(c) for c in command], env=environment, cwd=ROOT, stdout=log, stderr=log))
    if kill_at >= 0:
        ranks[0].wait(300)
        for process in ranks[1:]:
            process.kill()
    codes = [process.wait(300) for process in ranks]
    if kill_at < 0 and any(code not in (0, INTERRUPTED) for code in codes):
        raise AssertionError("\n".join((run / f"rank{r}.log").read_text()[-3000:] for r in range(world)))
    return codes


def main() -> int:
    from mlseg_core.config import validate
    from mlseg_core.errors import Interrupted
    from mlseg_dist.config import LearningConfig
    from mlseg_dist.run_folder import phase_folder
    from mlseg_dist.training.train import train

    run, config_file, step, stop_at, kill_at = sys.argv[1:]
    config = validate(json.loads(Path(config_file).read_text()), LearningConfig, config_file)
    calls = 0

    def stop() -> bool:
        nonlocal calls
        calls += 1
        if os.environ["RANK"] == "0" and calls == int(kill_at):
            os.kill(os.getpid(), signal.SIGKILL)
        return os.environ["RANK"] == "0" and calls == int(stop_at)

    try:
        train(config, int(step), Path(run), phase_folder(Path(run), config.steps[int(step)].name), stop)
    except Interrupted:
        return INTERRUPTED
    return 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
