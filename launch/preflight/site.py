"""What the checks are told: the campaign, where it will run, how thorough to be."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from launch.campaign import uses_slurm
from launch.completion import Completion, survey
from launch.config import CampaignConfig
from launch.estimate.amounts import Amounts, measure
from launch.graph import Phase, build_graph
from launch.phases import block_of
from launch.resources.blocks import BLOCKS, Block, JobConfig
from launch.resources.gpus import asked_gpus
from launch.run_folder import RunFolder


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
    def jobs(self) -> dict[Block, JobConfig]:
        """The resources that the campaign's phases and their merges use, settled."""
        used = {"small", *(block_of(self.config, phase) for phase in self.graph)}
        return {name: self.config.cluster.job(name) for name in BLOCKS if name in used}

    @cached_property
    def completions(self) -> Sequence[Completion]:
        """The completion of every phase; empty before the first start. Raises UserError."""
        return survey(self.config, self.graph, self.run) if self.run.exists() else ()

    @cached_property
    def left(self) -> Sequence[Phase]:
        """The phases that are not done. Raises UserError."""
        done = {completion.phase.name for completion in self.completions if completion.state == "done"}
        return [phase for phase in self.graph if phase.name not in done]

    @property
    def jobs_left(self) -> dict[Block, JobConfig]:
        """The resources of the phases that are not done, and of merging and planning again."""
        used = {"small", *(block_of(self.config, phase) for phase in self.left)}
        return {name: job for name, job in self.jobs.items() if name in used}

    def kinds_of_node(self) -> dict[Block, JobConfig]:
        """One job for each kind of node: of the jobs that ask for the same nodes only the largest."""
        chosen: dict[tuple[object, ...], Block] = {}
        for name, job in sorted(self.jobs.items(), key=lambda item: item[0] != "train"):
            asks = (job.partition, job.account, job.qos, asked_gpus(job).per_node, job.gpus, job.setup)
            chosen.setdefault((*asks, *job.command, job.python), name)
        return {name: self.jobs[name] for name in chosen.values()}


def existing(path: Path) -> Path:
    """The path, or the nearest folder above it that is there."""
    path = path.absolute()
    return path if path.exists() else existing(path.parent)
