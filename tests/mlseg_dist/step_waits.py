"""Trains on one rank and counts what makes the host wait for the device between two lines of metrics.jsonl.

`python -m tests.mlseg_dist.step_waits OUT RUN ...` trains each RUN by its config.json, one after the other, and writes JSON to OUT:
`waits`, by run, where each happened; `seen`, how many of the deliberate waits were counted; `local_rank`, the GPU that DeepSpeed
took. On a GPU torch itself watches as well.
"""

import json
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mlseg_core.config import validate
from mlseg_dist.config import LearningConfig
from mlseg_dist.run_folder import phase_folder
from mlseg_dist.training.engine.world import deepspeed_takes
from mlseg_dist.training.loop import train
from tests.mlseg_dist.prepared_run import STEP

FIRST, LAST = 2, 5
"""Watched from the end of step FIRST to that of step LAST, of six; before, what stays is built (Adam's state, buckets)."""
ASKING = {
    "_local_scalar_dense",
    "nonzero",
    "masked_select",
    "is_nonzero",
    "equal",
    "bincount",
    "_unique2",
    "unique_dim",
}
"""Operators whose answer or size the host has to know."""


class Waits(TorchDispatchMode):
    """Where the watched thread asks the device for an answer."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._watching: threading.Thread | None = None

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        by_mask = name in ("index", "index_put_") and any(
            x is not None and x.dtype in (torch.bool, torch.uint8) for x in args[1]
        )
        if name in ASKING or by_mask:
            self.note(name)
        return func(*args, **(kwargs or {}))

    def note(self, what: str) -> None:
        if threading.current_thread() is self._watching:
            frames = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_stack()[:-2]]
            self.found.append(f"{what}: {' < '.join(reversed(frames[-6:]))}")

    def begin(self) -> None:
        self._watching = threading.current_thread()
        self.__enter__()
        watch_cuda("error")

    def end(self) -> None:
        watch_cuda("default")
        self.__exit__(None, None, None)
        self._watching = None

    def count(self, owner: Any, name: str) -> None:
        """Every call of owner.name is noted from now on, and made."""
        real = getattr(owner, name)

        def noted(*args: Any, **kwargs: Any) -> Any:
            self.note(f"{getattr(owner, '__name__', owner)}.{name}")
            return real(*args, **kwargs)

        setattr(owner, name, noted)


def watch_cuda(mode: str) -> None:
    """error: torch raises where the host would wait for a GPU."""
    if torch.cuda.is_available():
        torch.cuda.set_sync_debug_mode(mode)


def main() -> None:
    out, *runs = map(Path, sys.argv[1:])
    waits = Waits()
    for owner, name in ((torch.Tensor, "cpu"), (torch.Tensor, "tolist"), (torch.cuda, "synchronize")):
        waits.count(owner, name)
    watch_deepspeed(waits)
    found: dict[str, Any] = {"waits": {run.parent.name: watched(run, waits) for run in runs}, "seen": deliberate(waits)}
    if not torch.cuda.is_available():
        found["local_rank"] = gpu_of_deepspeed()
    out.write_text(json.dumps(found))


def watched(run: Path, waits: Waits) -> list[str]:
    """Train; returns what waited."""
    config = validate(json.loads((run / "config.json").read_text()), LearningConfig, "config.json")
    waits.found, steps = [], 0

    def stop() -> bool:
        nonlocal steps
        steps += 1
        if steps == FIRST:
            waits.begin()
        if steps == LAST:
            waits.end()
        return False

    train(config, STEP, run, phase_folder(run, config.steps[STEP].name), stop)
    assert steps > LAST
    return waits.found


def watch_deepspeed(waits: Waits) -> None:
    """Count what its accelerator is told to wait for."""
    if not torch.cuda.is_available():
        os.environ["DS_ACCELERATOR"] = "cpu"
    from deepspeed.accelerator import get_accelerator

    waits.count(get_accelerator(), "synchronize")


def gpu_of_deepspeed() -> int:
    """The GPU that an engine of DeepSpeed's takes where ours is number 2."""
    import deepspeed

    with deepspeed_takes(torch.device("cuda", 2)):
        engine, *_ = deepspeed.initialize(model=torch.nn.Linear(1, 1), config={"train_batch_size": 1})
    assert os.environ["LOCAL_RANK"] == "0"
    return engine.local_rank


def deliberate(waits: Waits) -> int:
    """How many waits are noticed of five: an answer, a truth value, a list, a mask, a copy to the host."""
    waits.found = []
    waits.begin()
    watch_cuda("default")
    ones = torch.ones(3)
    ones.sum().item()
    bool(ones.sum() > 2)
    ones.tolist()
    ones[ones > 0].cpu()
    waits.end()
    return len(waits.found)


if __name__ == "__main__":
    main()
