"""Nodes that are unfit for their job: they are recorded, and jobs with GPUs that are planned later leave them out.

In: the GPUs that a job asked for, and what the watch over training said of nodes where ranks stood still. Out: an error before any
work begins, and `RUN/avoid/NODE.json`, which a person removes once the node is repaired. Otherwise a node that lost its GPU would
work on its CPU, a hundred times slower and with other bytes as a result, or get every retry because it is idle.
"""

import time

from launch.graph import Phase
from launch.resources.blocks import JobConfig
from launch.resources.gpus import asked_gpus
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import own_files, read_json, write_json
from mlseg_core.node import node_name
from mlseg_dist.events import read_events

_FOLDER = "avoid"
_TIMES = 2
_HELD_UP = ("silent", "still")
"""Verdicts of training's watch that name a culprit (mlseg_dist/training/health/verdict.py)."""


class UnfitNode(Exception):
    """The job failed because of its node; it may succeed on another one."""


def check_gpus(run: RunFolder, name: str, job: JobConfig, on_slurm: bool, share: bool = False) -> None:
    """Check that this process has a GPU that works, if the job asked for GPUs.

    name: of the job's block in the config. share: its processes may share one GPU (mlseg_dist/device.py).
    Raises UnfitNode, or UserError if the set-up is to blame and not the node.
    """
    gpus = asked_gpus(job)
    if not gpus:
        return
    import torch

    try:
        why = _broken(share)
    except UserError as error:
        if not on_slurm or job.tasks_per_node > gpus.per_node:
            raise
        why = error.what  # SLURM gave enough of them, and the node does not have them
    if not why:
        return
    key, asked = f"cluster.{name}", gpus.words
    if torch.version.cuda is None and torch.version.hip is None:
        raise UserError(
            f"the jobs ask for {asked}, but torch {torch.__version__} is a build without GPUs",
            key,
            f"Install one with GPUs, or {gpus.remedy(key)}.",
        )
    if not on_slurm:
        remedy = gpus.remedy(key)
        raise UserError(f"the job asks for {asked}: {why}", key, f"{remedy[0].upper()}{remedy[1:]} to work on the CPU.")
    node = node_name()
    avoid(run, node, why)
    raise UnfitNode(f"node {node} has no GPU that works, and the job asked for {asked}: {why}")


def _broken(share: bool) -> str:
    """Why this process's GPU does not work; empty if it does. Raises UserError where two processes would share one."""
    import torch

    from mlseg_dist.device import device_for

    try:
        torch.cuda.init()
        device = device_for(share)
        if device.type == "cpu":
            return "torch sees no GPU"
        if torch.ones(1024, device=device).sum().item() != 1024:
            return f"{torch.cuda.get_device_name(device)} adds up wrong"
    except UserError:
        raise
    except Exception as error:  # torch says it in many ways, AssertionError among them
        return " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return ""


def avoid(run: RunFolder, node: str, why: str) -> None:
    """Leave the node out of jobs with GPUs, from the next plan on."""
    write_json(run.path / _FOLDER / f"{node}.json", {"node": node, "why": why, "since": time.time()})


def avoid_stuck(run: RunFolder, phase: Phase, since: float) -> None:
    """Avoid nodes where a rank held the job up in two attempts. since: time.time(); earlier events do not count."""
    held: dict[str, dict[int, str]] = {}
    unsaved = False  # the run folder's disk did not take a checkpoint: whoever waits in `save` waits for that disk
    for event in read_events(run.phase(phase)):
        if event["event"] in ("started", "checkpoint-failed", "checkpoint-recovered"):
            unsaved = event["event"] == "checkpoint-failed"
        waits_for_disk = unsaved and event.get("stage") == "save"
        if event["event"] == "stuck" and event["why"] in _HELD_UP and event["time"] >= since and not waits_for_disk:
            held.setdefault(event["node"], {})[event["pid"]] = event["text"]
    for node, said in held.items():
        if len(said) >= _TIMES:
            avoid(run, node, f"{len(said)} times a rank there held {phase.name} up: {list(said.values())[-1]}")


def avoided(run: RunFolder) -> dict[str, str]:
    """The nodes to avoid -> why, sorted by name."""
    found = {}
    for path in own_files(run.path / _FOLDER, r"[A-Za-z0-9][\w.-]*\.json"):
        record = read_json(path)
        if isinstance(record, dict) and record.get("node") == path.stem:  # else somebody's copy of one
            found[path.stem] = str(record.get("why", ""))
    return found


def excluding(run: RunFolder, job: JobConfig) -> dict[str, str]:
    """The job's further sbatch parameters, with the nodes to avoid among them."""
    nodes = [job.extra.get("exclude", ""), *(avoided(run) if asked_gpus(job) else {})]
    return {**job.extra, **({"exclude": ",".join(filter(None, nodes))} if any(nodes) else {})}
