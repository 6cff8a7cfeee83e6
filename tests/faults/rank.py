"""One rank of a training job: `python -m tests.faults.rank RUN CONFIG.json STEP`, with RANK, WORLD_SIZE, ... as SLURM's jobs get
them. Signals and exit statuses are the product's own."""

import json
import os
import sys
import traceback
from pathlib import Path

from launch.job import Signals
from mlseg_core.config import validate
from mlseg_core.errors import EXIT_DONE, exit_status
from mlseg_dist.config import LearningConfig
from mlseg_dist.run_folder import phase_folder
from mlseg_dist.training.loop import train


def main() -> int:
    run, config_file, step = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    signals = Signals()
    config = validate(json.loads(config_file.read_text()), LearningConfig, str(config_file))
    try:
        train(config, step, run, phase_folder(run, config.steps[step].name), lambda: signals.stopped)
    except BaseException as error:
        traceback.print_exc()
        return exit_status(error)
    return EXIT_DONE


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)
