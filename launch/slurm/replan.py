"""Planning again with nobody awake, bounded by cluster.retries: by a job that waits for a failure, or from the login node.


Where jobs may not submit jobs (cluster.replan: login), `mlseg run` stays on the login node, polls the queue and plans again. To end
it ends no job, and `mlseg run` comes back to it; two that attend the same campaign do no harm.
"""

import logging
import subprocess
import time
from contextlib import suppress

from launch import alerts
from launch.alerts import ask_for_person
from launch.completion import survey
from launch.graph import build_graph
from launch.run_folder import RunFolder
from launch.slurm.job_plans import read_plans
from launch.slurm.plan import Outcome, plan_on_slurm
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, UserError, for_a_person
from mlseg_core.files import write_json

_log = logging.getLogger(__name__)


EVERY_S = 60.0
_PATIENCE_S, _AGAIN_S = 1200.0, 15.0


def plan_again(run: RunFolder) -> Outcome:
    """Submit what is missing, unless the retry budget is spent; then leave an alert in RUN/alert.json."""
    try:
        outcome = _plan_patiently(run)
    except Exception as error:
        _alert(run, f"the campaign could not be planned again: {error}")
        raise
    if outcome.refused:
        _alert(run, outcome.refused)
    return outcome


def _alert(run: RunFolder, text: str) -> None:
    """Leave an alert for `mlseg status`, and send it. On a full disk it only is in this job's log, if that takes it."""
    when = time.time()
    with suppress(OSError):
        write_json(run.path / "alert.json", {"alert": text, "time": when})
    with suppress(UserError, OSError):
        ask_for_person(run, run.config(), text, when)


def _plan_patiently(run: RunFolder) -> Outcome:
    """Plan, and try again for twenty minutes if SLURM does not answer: nobody else plans after this job."""
    config, deadline = run.config(), time.monotonic() + _PATIENCE_S
    while True:
        try:
            return plan_on_slurm(run, survey(config, build_graph(config), run), by="replan")
        except OSError as error:
            if cause := for_a_person(error):
                return Outcome(None, f"the campaign cannot be planned again: {cause}")
            raise
        except (RuntimeError, UserError, subprocess.TimeoutExpired) as error:
            if time.monotonic() > deadline:
                raise
            _log.warning("planning again in %.0f s: %s", _AGAIN_S, error)
            time.sleep(_AGAIN_S)


def attend(run: RunFolder, every_s: float = EVERY_S) -> int:
    """Poll and plan again until all is done, a person is needed, or the campaign was cancelled. Returns the exit status.

    Raises RuntimeError, UserError, TimeoutExpired when SLURM does not answer for twenty minutes.
    """
    print(
        f"Staying here, as cluster.replan is `login`; polls every {every_s:g} s. Ctrl-C ends this, and no job.",
        flush=True,
    )
    sending = alerts.watch(run, run.config())  # those, too, that compute nodes could not send
    try:
        return _until_the_end(run, every_s)
    finally:
        sending.close()


def _until_the_end(run: RunFolder, every_s: float) -> int:
    while True:
        config = run.config()
        if all(completion.state == "done" for completion in survey(config, build_graph(config), run)):
            return EXIT_DONE
        if read_plans(run)[-1].by == "cancel":
            print("the campaign was cancelled", flush=True)
            return EXIT_FAILED
        outcome = plan_again(run)
        if outcome.plan is not None:
            failed = ", ".join(f"{phase} {why}" for phase, why in outcome.plan.reasons.items() if why != "new")
            print(f"{time.strftime('%H:%M:%S')} {failed}: planned again\n{outcome}", flush=True)
        if outcome.refused:
            print(f"{time.strftime('%H:%M:%S')} {outcome}", flush=True)
            return EXIT_FAILED
        time.sleep(every_s)
