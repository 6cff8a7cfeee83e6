"""What tests of checkpoints save, and what they look at afterwards."""

import torch

from mlseg_dist.events import read_events
from mlseg_dist.training.checkpoint import Saver

MB = 1 << 18
"""float32 of a MiB."""


def state_of(step, size=1000):
    """Every element says the step."""
    weights = torch.full((size,), float(step))
    return {"model": {"w": weights}, "optimizer": {"state": {0: {"m": weights + 0.5}}, "param_groups": [{"lr": 0.1}]}}


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def steps_in(folder):
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def told(events, event):
    return [line for line in read_events(events.path.parent) if line["event"] == event]


def saved(folder, events, *steps, keep=9, **options):
    saver = Saver(folder, keep, None, events.log, **options)
    for step in steps:
        saver.save(step, state_of(step), {"step": step})
    saver.wait()
    return saver
