"""Whether a job asks for GPUs, and how many a node: by `gpus_per_node` or by any of sbatch's own parameters in `extra`.

Also how many processes of a job run on this machine where it has no SLURM: they hang on the GPUs.
"""

import math
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launch.config import JobConfig
from mlseg_core.errors import UserError

if TYPE_CHECKING:
    from submitit import LocalExecutor

_GRES = re.compile(r"(?:gres[/:])?gpu(?:[:/](?P<type>[^:=,()]+))??(?:[:=](?P<count>\d+))?(?:\([^)]*\))?", re.IGNORECASE)
_COUNT = re.compile(r"(?:[^:=,]+[:=])?(?P<count>\d+)")


@dataclass(frozen=True)
class Asked:
    """GPUs that a job asks for on each of its nodes, at least, and the keys that ask. False when there are none."""

    per_node: int = 0
    keys: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.per_node > 0

    @property
    def words(self) -> str:
        """`8 GPUs a node`."""
        return f"{self.per_node} GPU{'s' if self.per_node > 1 else ''} a node"

    def remedy(self, block: str) -> str:
        """How to ask for none. block: of the config, `cluster.train`."""
        return " and ".join(
            f"set {block}.gpus_per_node=0" if key == "gpus_per_node" else f"leave out {block}.{key}"
            for key in self.keys
        )


def asked_gpus(job: JobConfig) -> Asked:
    """GPUs a node: of the key that asks for most, as SLURM gives a job what several of them ask for together."""
    found = {"gpus_per_node": job.gpus_per_node}
    for key, value in job.extra.items():
        found[f"extra.{key}"] = _of_parameter(key.replace("_", "-").lstrip("-"), value.strip(), job)
    asking = tuple(key for key, count in found.items() if count)
    return Asked(max(found.values()), asking)


def give_gpus(executor: "LocalExecutor", count: int) -> None:
    """A job on this machine gets the first `count` GPUs of those in CUDA_VISIBLE_DEVICES: the others may be somebody else's.

    Raises UserError when fewer are named there.
    """
    executor.update_parameters(gpus_per_node=count)
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is None or not count:
        return
    devices = [one.strip() for one in named.split(",") if one.strip()]
    if len(devices) < count:
        raise UserError(
            f"a job asks for {count} GPU{'s' if count > 1 else ''}, and CUDA_VISIBLE_DEVICES={named} shows {len(devices)}",
            "CUDA_VISIBLE_DEVICES",
            "Name more of them, or let the job ask for fewer (cluster.*.gpus_per_node).",
        )
    executor.parameters["visible_gpus"] = (
        devices  # update_parameters() refuses UUIDs, by which parts of a GPU are named
    )


def tasks_here(job: JobConfig) -> int:
    """Processes of one job on this machine: all of its nodes', but on GPUs no more than one node is said to have."""
    return job.tasks_per_node if asked_gpus(job) else job.tasks


def _of_parameter(name: str, value: str, job: JobConfig) -> int:
    """GPUs a node, rounded up, that a parameter of sbatch asks for."""
    if name in ("gpus", "G"):
        return math.ceil(_counted(value) / job.nodes)
    if name == "gpus-per-node":
        return _counted(value)
    if name == "gpus-per-task":
        return _counted(value) * job.tasks_per_node
    if name == "gpus-per-socket":
        return _counted(value)
    if name in ("gres", "tres-per-node", "tres-per-socket"):
        return _listed(value)
    if name == "tres-per-task":
        return _listed(value) * job.tasks_per_node
    if name == "tres-per-job":
        return math.ceil(_listed(value) / job.nodes)
    return 0


def _counted(value: str) -> int:
    """`8`, `h100:8`, `h100:4,a100:4`."""
    found = [_COUNT.fullmatch(part.strip()) for part in value.split(",")]
    return sum(int(match["count"]) for match in found if match)


def _listed(value: str) -> int:
    """`gpu`, `gpu:2`, `gpu:h100:8`, `gres/gpu:8`, `cpu:4,gres/gpu:h100=1`; other resources do not count."""
    total = 0
    for part in re.split(r",(?![^(]*\))", value):
        if match := _GRES.fullmatch(part.strip()):
            total += int(match["count"]) if match["count"] else 1
    return total
