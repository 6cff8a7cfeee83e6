"""The job that plans a campaign again when a phase has failed, with nobody awake; bounded by cluster.retries."""

import os
from pathlib import Path

from launch.completion import survey
from launch.graph import build_graph
from launch.job import assert_frozen
from launch.planner import plan_on_slurm
from launch.run_folder import RunFolder
from mlseg_core.files import write_json


def replan(run_path: str) -> None:
    """Submit what is missing, unless the retry budget is spent; then leave an alert in RUN/alert.json."""
    run = RunFolder(Path(run_path))
    assert_frozen(run)
    os.chdir(run.frozen()["folder"])
    config = run.config()
    outcome = plan_on_slurm(run, survey(config, build_graph(config), run), by="replan")
    if outcome.refused:
        write_json(run.path / "alert.json", {"alert": outcome.refused})
    print(outcome.refused or outcome.plan or "nothing is missing", flush=True)
