"""Whether the ranks of training can share a step: known from the config, so it is refused before anything is queued."""

import shutil

from launch.config import CampaignConfig
from launch.gpus import tasks_here
from launch.graph import build_graph
from launch.run_folder import RunFolder
from mlseg_dist.training import sharing


def training_ranks(config: CampaignConfig) -> int:
    """Ranks of a training job, on SLURM or on this machine, wherever the campaign would run when started from here."""
    executor = config.cluster.executor
    here = executor == "local" or (executor == "auto" and not shutil.which("sbatch"))
    job = config.cluster.job("train")
    return tasks_here(job) if here else job.tasks


def check_ranks(config: CampaignConfig) -> None:
    """Raises UserError, with what would fit, when the ranks cannot share a step and there is something left to train."""
    run = RunFolder.of(config)
    training = [phase for phase in build_graph(config) if phase.kind == "train"]
    if any(not (run.phase(phase) / "done.json").exists() for phase in training):
        sharing.check_ranks(config.train, config.loss, training_ranks(config))
