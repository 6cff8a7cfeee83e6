"""What the checks are told: the campaign, where it will run, how thorough to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from launch.amounts import Amounts, measure
from launch.campaign import uses_slurm
from launch.config import CampaignConfig, JobConfig
from launch.gpus import asked_gpus
from launch.graph import Phase, build_graph
from launch.kinds import JobName
from launch.run_folder import RunFolder

_JOBS: tuple[JobName, ...] = ("map", "train", "single")


@dataclass(frozen=True)
class Site:
    """full: read every byte of the shards.  node_job: run a job on the nodes.  wait_s: for each of them, once it is queued."""

    config: CampaignConfig
    full: bool = False
    node_job: bool = False
    wait_s: float = 600.0

    @cached_property
    def run(self) -> RunFolder:
        """Raises UserError for a name that cannot be one."""
        return RunFolder.of(self.config)

    @cached_property
    def graph(self) -> Sequence[Phase]:
        """Raises UserError."""
        return build_graph(self.config)

    @cached_property
    def slurm(self) -> bool:
        """Raises UserError when SLURM is asked for and missing, or does not answer."""
        return uses_slurm(self.config)

    @cached_property
    def amounts(self) -> Amounts:
        """Raises UserError."""
        return measure(self.config, self.graph, self.run)

    @property
    def jobs(self) -> dict[JobName, JobConfig]:
        return {name: getattr(self.config.cluster, name) for name in _JOBS}

    def kinds_of_node(self) -> dict[JobName, JobConfig]:
        """One job a kind of node: of jobs that ask for the same nodes only the largest."""
        chosen: dict[tuple[object, ...], JobName] = {}
        for name in ("train", "map", "single"):
            job = self.jobs[name]
            chosen.setdefault((job.partition, job.account, job.qos, asked_gpus(job).per_node, job.setup), name)
        return {name: self.jobs[name] for name in chosen.values()}


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return path if path.exists() else existing(path.parent)
