"""Whether a job asks for GPUs, and how many a node: by `gpus` or by any of sbatch's own parameters in `extra`.

Also how many processes of a job run on this machine where it has no SLURM: they hang on the GPUs.
"""

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from launch.resources.blocks import JobConfig
from launch.resources.quantities import gpus_of_parameter, gpus_of_types
from mlseg_core.errors import UserError

if TYPE_CHECKING:
    from submitit import LocalExecutor


@dataclass(frozen=True)
class GpuRequest:
    """At least so many GPUs a job asks for on each of its nodes, by these keys. False if it asks for none."""

    per_node: int = 0
    keys: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.per_node > 0

    @property
    def words(self) -> str:
        """`8 GPUs a node`."""
        return f"{self.per_node} GPU{'s' if self.per_node > 1 else ''} a node"

    def remedy(self, block: str) -> str:
        """How to ask for none, in words. block: the key of the block, such as `cluster.train`."""
        return " and ".join(f"set {block}.gpus=0" if key == "gpus" else f"leave out {block}.{key}" for key in self.keys)


def asked_gpus(job: JobConfig) -> GpuRequest:
    """GPUs a node: of the key that asks for most, as SLURM gives a job what several of them ask for together."""
    found = {"gpus": sum(gpus_of_types(str(job.gpus)).values())}
    for key, value in job.extra.items():
        found[f"extra.{key}"] = gpus_of_parameter(key, value, job.nodes, job.tasks_per_node)
    asking = tuple(key for key, count in found.items() if count)
    return GpuRequest(max(found.values()), asking)


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
            "Name more of them, or let the job ask for fewer (cluster.*.gpus).",
        )
    executor.parameters["visible_gpus"] = (
        devices  # update_parameters() refuses UUIDs, by which parts of a GPU are named
    )


def tasks_here(job: JobConfig) -> int:
    """Processes of one job on this machine: those of all its nodes, or of one node if they work on GPUs."""
    return job.tasks_per_node if asked_gpus(job) else job.tasks
