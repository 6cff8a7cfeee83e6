"""The entry point of the job that plans again. Its name and place must stay as they are, and so must those of launch.job.run_job:

submitit pickles a job's function by name, and a run that an earlier version began finds it in its frozen code under this one.
"""

import logging
from pathlib import Path

from launch.job import assert_frozen
from launch.run_folder import RunFolder
from launch.slurm.replan import plan_again
from mlseg_core.logs import log_as_job

_log = logging.getLogger(__name__)


def replan(run_path: str) -> None:
    """What the job does that waits for a failure."""
    log_as_job(0)
    run = RunFolder(Path(run_path))
    assert_frozen(run)
    run.enter_working_folder()
    _log.info(plan_again(run))
