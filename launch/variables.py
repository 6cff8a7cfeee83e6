"""Environment variables that jobs get."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from launch.resources.blocks import JobConfig
from launch.resources.gpus import asked_gpus
from launch.run_folder import RunFolder

START = "MLSEG_START"
"""When a batch script began, the same in all its processes: set by the script itself."""


def job_environment(run: RunFolder, job: JobConfig) -> dict[str, str]:
    """Variables of every job: the frozen code first, never the working folder's; a rank's threads; CPU without GPUs."""
    environment = {"PYTHONPATH": str(run.code), "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": str(job.cpus_per_task)}
    if not asked_gpus(job):
        environment["DS_ACCELERATOR"] = "cpu"
    return environment


@contextmanager
def environment(variables: dict[str, str]) -> Iterator[None]:
    """Set variables for a while."""
    old = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in old.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
