"""A training's rank 0 as far as its log goes: `python -m tests.mlseg_dist.log_process PHASE MODE FIRST LAST [kill]`.

Writes the lines of steps FIRST+1 to LAST, 50 ms apart; validates every fifth with pictures; ends well, or by SIGKILL.
Prints the milliseconds that each call took, and how long close() did, as the last line.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from mlseg_core.config import validate
from mlseg_core.logs import log_as_job
from mlseg_dist.config import LearningConfig
from mlseg_dist.events import Events
from mlseg_dist.tracking.media import Example
from mlseg_dist.training.log import TrainingLog
from tests.mlseg_dist.tiny_run import plain_config


class Scripted(TrainingLog):
    """Pictures come from here, not from a network."""

    def _examples(self, model, corpus, refs):
        return pictures(int(model))


def pictures(step: int) -> list[Example]:
    random = np.random.default_rng(step)
    truth, prediction = (random.integers(0, 3, (32, 32)).astype(np.uint8) for _ in range(2))
    truth[:4] = 255
    return [Example(f"pair-{step}", random.integers(0, 255, (32, 32, 3)).astype(np.uint8), truth, prediction)]


def figures(step: int) -> dict:
    by_class = {"background": 0.5, "tumour": step / 100, "others": None}
    rates = {"pairs_s": 10.0 + step, "data_wait": 0.01, "step_ms": 50.0, "mfu": 0.3}
    loss = {"loss": 1 / step, "wce": 0.6 / step, "wdl": 0.4 / step, "lr": 1e-3}
    return {"step": step, "epoch": step / 10, **loss, "miou": 0.1, "iou": by_class, "accuracy": 0.7, **rates}


def main() -> None:
    phase, mode, first, last = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    log_as_job(0)
    config = validate({**plain_config(), "tracking": {"mode": mode}}, LearningConfig, "test")
    events = Events(phase)
    events.log("started", "attempt", "info", attempt=first)
    journal = Scripted(config, phase, first, 40)
    took = []
    for step in range(first + 1, last + 1):
        time.sleep(0.05)
        begun = time.perf_counter()
        journal.train(figures(step))
        took.append(1000 * (time.perf_counter() - begun))
        if step == 7:
            events.log("checkpoint-damaged", "step-00000005 <is> *damaged*: [see](http://x)", "error", step=5)
        if step % 5 == 0:
            scores = {"miou": step / 50, "iou": {"tumour": step / 60, "others": None}, "accuracy": 0.8, "wce": 0.1}
            journal.validation(step, {**scores, "wdl": 0.2}, step, None, [])  # type: ignore[arg-type]
    if "kill" in sys.argv:
        time.sleep(float(sys.argv[sys.argv.index("kill") + 1]))
        os.kill(os.getpid(), signal.SIGKILL)
    begun = time.perf_counter()
    journal.close()
    print(json.dumps({"took_ms": took, "close_s": time.perf_counter() - begun}))


if __name__ == "__main__":
    main()
