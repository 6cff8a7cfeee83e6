"""The job that plans a campaign again when a phase has failed, with nobody awake; bounded by cluster.retries."""

import os
import subprocess
import time
from pathlib import Path

from launch.completion import survey
from launch.graph import build_graph
from launch.job import assert_frozen
from launch.planner import Outcome, plan_on_slurm
from launch.run_folder import RunFolder
from mlseg_core.errors import UserError
from mlseg_core.files import write_json

_PATIENCE_S, _AGAIN_S = 1200.0, 15.0


def replan(run_path: str) -> None:
    """Submit what is missing, unless the retry budget is spent; then leave an alert in RUN/alert.json."""
    run = RunFolder(Path(run_path))
    assert_frozen(run)
    os.chdir(run.frozen()["folder"])
    try:
        outcome = _plan_patiently(run)
    except Exception as error:
        write_json(run.path / "alert.json", {"alert": f"the campaign could not be planned again: {error}"})
        raise
    if outcome.refused:
        write_json(run.path / "alert.json", {"alert": outcome.refused})
    print(outcome.refused or outcome.plan or "nothing is missing", flush=True)


def _plan_patiently(run: RunFolder) -> Outcome:
    """A controller that does not answer now may be back in a minute, and after this job nobody else plans."""
    config, deadline = run.config(), time.monotonic() + _PATIENCE_S
    while True:
        try:
            return plan_on_slurm(run, survey(config, build_graph(config), run), by="replan")
        except (RuntimeError, UserError, subprocess.TimeoutExpired) as error:
            if time.monotonic() > deadline:
                raise
            print(f"planning again in {_AGAIN_S:.0f} s: {error}", flush=True)
            time.sleep(_AGAIN_S)
