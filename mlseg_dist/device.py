"""Which GPU is this process's, and how a device is set up before work. The engines, DALI, labelling and style all ask here."""

import os
from collections.abc import Mapping, Sequence

import torch

from mlseg_core.errors import UserError
from mlseg_core.node import number_in

Place = tuple[str, str]
"""A GPU: its node's name, and its UUID there."""


def gpu_index(environment: Mapping[str, str], visible: int, share: bool = False) -> int | None:
    """Number, among the `visible` GPUs, of the one that this process works on; None where there is none.

    environment: LOCAL_RANK and LOCAL_WORLD_SIZE, this process's place among those of its node, and what SLURM says of GPUs. Where
    all processes of a node see the same GPUs, each takes the one with its own number. Where SLURM shows each only its own
    (`--gpus-per-task`, `--gpu-bind`), their numbers begin at 0 in every process.

    share: processes that do not talk to each other, a map's, may work on one GPU; otherwise raises UserError where two would.
    """
    if visible == 0:
        return None
    rank = number_in(environment, "LOCAL_RANK") or 0
    ranks = max(rank + 1, number_in(environment, "LOCAL_WORLD_SIZE") or 1)
    if not (share or ranks <= visible or _has_its_own(environment, ranks, visible)):
        raise UserError(
            f"{ranks} ranks of this node see {visible} GPU{'s' if visible > 1 else ''}, and two would share one",
            "cluster.train",
            f"Set cluster.train.tasks_per_node={visible}, or ask for {ranks} GPUs a node.",
        )
    return rank % visible


def _has_its_own(environment: Mapping[str, str], ranks: int, visible: int) -> bool:
    """SLURM shows this process a part of what it gave the node, and gave enough for all."""
    if environment.get("SLURM_GPUS_PER_TASK") or "gpu" in environment.get("SLURM_TRES_PER_TASK", ""):
        return True
    on_node = environment.get("SLURM_GPUS_ON_NODE", "")
    return on_node.isdecimal() and int(on_node) > visible and int(on_node) >= ranks


def device_for(share: bool = False) -> torch.device:
    """This process's GPU; the CPU where there is none. share: see gpu_index. Raises UserError."""
    index = gpu_index(os.environ, torch.cuda.device_count() if torch.cuda.is_available() else 0, share)
    return torch.device("cpu") if index is None else torch.device("cuda", index)


def check_own_gpus(places: Sequence[Place]) -> None:
    """places: every rank's GPU, by rank. Raises UserError when two ranks have the same one, as with some `--gpu-bind`."""
    for rank, place in enumerate(places):
        first = places.index(place)
        if first != rank:
            raise UserError(
                f"ranks {first} and {rank} work on the same GPU of node {place[0]} ({place[1]})",
                "cluster.train.extra",
                "Leave out gpu-bind, or bind each task to a GPU of its own (--gpus-per-task=1).",
            )


def device_kind(device: torch.device) -> str:
    """What answers agree bit by bit on: `cpu`, or the GPU's model name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def settle_cpu(threads: int) -> None:
    """Before work on a CPU. threads: of torch in this process; 0: its own choice.

    Subnormal numbers, of which vanishing gradients are full, cost a CPU many times what others do: they become 0.
    """
    if threads:
        torch.set_num_threads(threads)
    torch.set_flush_denormal(True)


def settle_gpu(device: torch.device, deterministic: bool = False) -> None:
    """Before work on a GPU whose shapes stay the same; does nothing for a CPU.

    Events and pinned memory that name no device belong to the current one, so it is made this one. cuDNN times its algorithms at
    the first batch of each shape and keeps the fastest, unless `deterministic`: which one wins may differ from run to run.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.backends.cudnn.benchmark = not deterministic
