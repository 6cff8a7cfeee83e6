"""What runs inside the jobs of `mlseg predict --cluster`. submitit finds these functions by name.

predict_slides is one process of the array, a worker of the map; finish runs once the array has ended.
Both end with the project's exit statuses: 0 done, 1 failed, 2 the user's mistake, 75 interrupted (requeued on SLURM).
"""

import logging
import sys
from pathlib import Path
from typing import NoReturn

from submitit import JobEnvironment

from launch.endings import OF_EXIT, in_words_for_a_person, one_line, outlive_a_full_disk
from launch.environment import export_place
from launch.job import Signals, assert_frozen, requeue_all
from launch.prediction.queue import REFUSED, plan_again, results
from launch.prediction.request import read_request
from launch.run_folder import RunFolder
from launch.slurm.job_plans import wait_until_planned
from launch.slurm.nodes import check_gpus
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, UserError, exit_status
from mlseg_core.exactly_once.run import run_units
from mlseg_core.files import write_json
from mlseg_core.logs import log_as_job
from mlseg_dist.prediction.results import lines, write_quarantine

_log = logging.getLogger(__name__)


def predict_slides(folder: str, element: int, elements: int) -> NoReturn:
    """Predict the worker's share of the slides, then what is left of the others'. element: of the array, from 0."""
    outlive_a_full_disk()
    signals, environment, run = Signals(), JobEnvironment(), RunFolder(Path(folder))
    log_as_job(environment.global_rank)
    export_place(environment)
    ranks, status = environment.num_tasks, EXIT_DONE
    try:
        assert_frozen(run)
        request = read_request(run)
        wait_until_planned(run, environment.job_id)
        check_gpus(run, "predict", request.cluster.job("predict"), on_slurm=True, share=True)
        from mlseg_dist.prediction import work

        failed = run_units(
            request.units(),
            work.predict,
            request.out,
            describe=work.describe,
            worker=element * ranks + environment.global_rank,
            workers=elements * ranks,
            label="predict",
            stop=lambda: signals.stopped,
            progress_unit="slides",
            piece_unit="patches",
        )
        for one in failed:
            _log.warning("%s: %s", one.unit, one.reason)
    except BaseException as raised:
        error = in_words_for_a_person(raised, run)
        status = exit_status(error)
        _log.error(one_line(error), exc_info=None if status in OF_EXIT else raised)
        if isinstance(error, UserError):
            write_json(run.path / REFUSED, {"what": error.what, "where": str(error.where), "fix": error.fix})
    if status == EXIT_INTERRUPTED and signals.wants_requeue:
        requeue_all(environment)
    sys.exit(status)


def finish(folder: str) -> NoReturn:
    """Write quarantine.csv once every slide is done or refused; else plan again. Its exit status is that of `mlseg predict`."""
    outlive_a_full_disk()
    log_as_job(0)
    run = RunFolder(Path(folder))
    try:
        assert_frozen(run)
        wait_until_planned(run, JobEnvironment().job_id)
        request = read_request(run)
        units = request.units()
        found = results(units, request.out)
        if found.left and request.cluster.replan == "job" and plan_again(run, request, found):
            _log.info("%d slides are left and were submitted again", len(found.left))
            sys.exit(EXIT_DONE)
        for line in [*lines(units, request.out), *write_quarantine(units, found.failed, request.out)]:
            _log.info(line)
        if found.left:
            _log.error("%d slides are left: start the same command again", len(found.left))
    except Exception as error:
        _log.error(one_line(error))
        sys.exit(exit_status(error))
    sys.exit(EXIT_FAILED if found.failed or found.left else EXIT_DONE)
