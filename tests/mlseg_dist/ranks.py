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


def rank_environments(world: int) -> list[dict[str, str]]:
    """What torch.distributed reads from the environment, for each rank of a job on this machine; one thread a rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    job = {"WORLD_SIZE": world, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    places = [{**job, "RANK": rank, "LOCAL_RANK": rank} for rank in range(world)]
    return [{name: str(value) for name, value in place.items()} for place in places]


def run_ranks(
    run: Path,
    config,
    step: int,
    world: int = 2,
    stop_at: int = -1,
    kill_at: int = -1,
    poison: tuple[int, ...] = (),
    blind: bool = False,
) -> list[int]:
    """Exit statuses of the ranks. stop_at, kill_at: number of optimizer steps of this start after which rank 0 does so.

    poison: micro-batches whose loss comes out as NaN, on the rank that has them. blind: in the first validation of this start every
    answer is NaN.
    """
    (run / "config.json").write_text(config.model_dump_json())
    ranks = []
    for rank, place in enumerate(rank_environments(world)):
        environment = {**os.environ, **place, "POISON": " ".join(map(str, poison)), "BLIND": "1" * blind}
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
    from mlseg_dist.training import loop

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
        spoil(loop, {int(number) for number in os.environ["POISON"].split()})
        if os.environ["BLIND"]:
            go_blind()
        loop.train(config, int(step), Path(run), phase_folder(Path(run), config.steps[int(step)].name), stop)
    except Interrupted:
        return INTERRUPTED
    return 0


def spoil(loop, numbers: set[int]) -> None:
    """What a network does with a patch that it cannot bear: the loss of these micro-batches is NaN."""
    real = loop.forward

    def forward(engine, loss_of, batch, *others):
        loss, *rest = real(engine, loss_of, batch, *others)
        return (loss * float("nan") if batch.number in numbers else loss), *rest

    loop.forward = forward


def go_blind() -> None:
    """The network gives no number while it is validated first."""
    from mlseg_dist.training import session

    real = session.validate

    def validate(model, *others):
        session.validate = real
        hook = model.register_forward_hook(lambda *called: {head: x * float("nan") for head, x in called[2].items()})
        found = real(model, *others)
        hook.remove()
        return found

    session.validate = validate


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
