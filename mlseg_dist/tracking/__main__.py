"""Feeds W&B beside a training process: `python -m mlseg_dist.tracking PHASE PATIENCE_S`.

The config comes as one line of JSON on standard input, whose end (the parent closes it, or dies) is the sign to send the rest
and leave.
"""

import json
import os
import select
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from mlseg_core.config import validate
from mlseg_dist.config import LearningConfig

POLL_S = 2.0
_TRIES = 5


def main() -> int:
    phase, patience_s = Path(sys.argv[1]), float(sys.argv[2])
    # SLURM sends its signals to every process of the job: the trainer decides when this one ends.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, _ignore)  # a handler, as ignored signals would be handed on to wandb's process
    os.nice(5)
    config = validate(json.loads(_first_line()), LearningConfig, "the parent's config")
    try:
        _follow(config, phase, patience_s)
    except Exception as error:
        print(f"W&B is off for this phase: {type(error).__name__}: {error}", flush=True)
        return 1
    return 0


def _follow(config: LearningConfig, phase: Path, patience_s: float) -> None:
    import wandb

    from mlseg_dist.tracking.follower import Follower
    from mlseg_dist.tracking.run import Unreachable, chosen_mode

    mode, trainer = chosen_mode(config), os.getppid()
    follower = Follower(config, phase, mode, watched_pid=trainer)
    failures = 0
    while True:
        ended = _wait_for_end(POLL_S) or os.getppid() != trainer
        if ended:
            _end_after(patience_s)
        try:
            follower.poll()
            failures = 0
        except Unreachable as error:
            print(f"W&B: {error}; writing an offline run instead", flush=True)
            follower.close()
            wandb.teardown()  # else it says that the id is in use
            follower = Follower(config, phase, "offline", watched_pid=trainer)
            follower.poll()
        except OSError:
            failures += 1
            if failures == _TRIES:
                raise
        if ended:
            while follower.is_waiting_for_the_dead():
                time.sleep(0.2)
                follower.poll()
            follower.close()
            return


def _wait_for_end(seconds: float) -> bool:
    readable, _, _ = select.select([0], [], [], seconds)
    return bool(readable) and os.read(0, 4096) == b""


def _first_line() -> bytes:
    line = b""
    while not line.endswith(b"\n"):
        more = os.read(0, 65536)
        if not more:
            break
        line += more
    return line


def _end_after(seconds: float) -> None:
    """The parent may be gone and cannot end this process; nor must a server that does not answer keep it."""

    def end() -> None:
        time.sleep(seconds)
        os.killpg(os.getpgid(0), signal.SIGKILL)

    threading.Thread(target=end, daemon=True).start()


def _ignore(number: int, frame: FrameType | None) -> None:
    pass


if __name__ == "__main__":
    status = main()
    sys.stdout.flush()
    os._exit(status)  # wandb's exit hooks may wait for a server
