"""Where jobs may not submit jobs: `mlseg run` stays on the login node, looks at the queue now and then, and plans again.

In: a run folder with a plan (cluster.replan: login). Out: the campaign's end, or an alert. Whoever ends this ends no job, and
`mlseg run` comes back to it; two that attend the same campaign do no harm.
"""

import time

from launch import alerts
from launch.completion import survey
from launch.graph import build_graph
from launch.plans import read_plans
from launch.run_folder import RunFolder
from launch.slurm_plan import plan_again
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED

EVERY_S = 60.0


def attend(run: RunFolder, every_s: float = EVERY_S) -> int:
    """Until all is done, a person is needed, or the campaign was cancelled. Returns the exit status.

    Raises RuntimeError, UserError, TimeoutExpired when SLURM does not answer for twenty minutes.
    """
    print(
        f"Staying here, as cluster.replan is `login`; a look every {every_s:g} s. Ctrl-C ends this, and no job.",
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
        if all(standing.state == "done" for standing in survey(config, build_graph(config), run)):
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
