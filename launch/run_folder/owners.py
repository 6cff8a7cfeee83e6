"""Who a run's folder and jobs belong to, by the owners of its files: no record is needed that an earlier version lacks."""

import os
from collections.abc import Sequence
from pathlib import Path

from launch.run_folder.folder import RunFolder
from launch.slurm.job_plans import Plan


def owner_of(path: Path) -> int | None:
    """User id; None when the file is not there or cannot be looked at."""
    try:
        return path.stat().st_uid
    except OSError:
        return None


def planner_of(run: RunFolder, plan: Plan) -> int:
    """User id of whoever submitted the plan's jobs: the owner of its file."""
    uid = owner_of(run.plans / f"{plan.number:04d}.json")
    return os.getuid() if uid is None else uid


def planners(run: RunFolder, plans: Sequence[Plan]) -> set[int]:
    """User ids of all who have planned this run."""
    return {planner_of(run, plan) for plan in plans}


def may_write(run: RunFolder) -> bool:
    """True when this user may add to the run folder, or make it."""
    folders = [folder for folder in (run.path, run.plans) if folder.is_dir()]
    return all(os.access(folder, os.W_OK | os.X_OK) for folder in folders)
