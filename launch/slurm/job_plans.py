"""Plans of jobs: which jobs were submitted for which phases, one file for each time that somebody planned, RUN/plans/NNNN.json.

The first plan of a number wins: of two planners that start at once only one counts. The other cancels its jobs, and a job that is
not in any plan ends by itself.
"""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal

from launch.run_folder import RunFolder
from launch.run_folder.identity import owner_of
from mlseg_core.errors import UserError
from mlseg_core.files import own_files, publish_first, read_json, temporary_beside, write_json

Reason = Literal["new", "failed", "interrupted", "lost"]
_WAIT_S = 300.0


@dataclass(frozen=True)
class JobPlan:
    """What one planner submitted.

    by: `person`, `replan` (a job that runs when a phase failed) or `cancel`.
    jobs: phase -> part -> job id.  reasons: why the phase had to be submitted.  replan: id of the re-planning job.
    """

    number: int
    by: Literal["person", "replan", "cancel"]
    jobs: dict[str, dict[str, str]] = field(default_factory=dict)
    reasons: dict[str, Reason] = field(default_factory=dict)
    replan: str = ""
    made: float = field(default_factory=time.time)

    def titles(self) -> dict[str, str]:
        """Job id -> what it does: PHASE-PART, or `replan`."""
        found = {job: f"{phase}-{part}" for phase, parts in self.jobs.items() for part, job in parts.items()}
        return found | ({self.replan: "replan"} if self.replan else {})


def read_plans(run: RunFolder) -> list[JobPlan]:
    """All plans, oldest first. Raises UserError for a damaged one."""
    return [_plan(path) for path in own_files(run.plans, r"\d{4,}\.json")]


def _plan(path: Path) -> JobPlan:
    try:
        return JobPlan(**read_json(path))
    except TypeError:
        raise UserError(
            "is not the record of a planning", path, "Restore the file; remove it if none of its jobs runs."
        ) from None


def publish_plan(run: RunFolder, plan: JobPlan) -> bool:
    """Publish it. Returns False if another planner published a plan of this number first."""
    target = run.plans / f"{plan.number:04d}.json"
    temporary = temporary_beside(target)
    write_json(temporary, asdict(plan))
    return publish_first(temporary, target)


def planner_of(run: RunFolder, plan: JobPlan) -> int:
    """User id of whoever submitted the plan's jobs: the owner of its file."""
    uid = owner_of(run.plans / f"{plan.number:04d}.json")
    return os.getuid() if uid is None else uid


def planners(run: RunFolder, plans: Sequence[JobPlan]) -> set[int]:
    """User ids of all who have planned this run."""
    return {planner_of(run, plan) for plan in plans}


def latest_jobs(plans: Sequence[JobPlan], phase: str) -> dict[str, str]:
    """The phase's newest jobs: part -> id."""
    return next((plan.jobs[phase] for plan in reversed(plans) if phase in plan.jobs), {})


def retries_in_a_row(plans: list[JobPlan], phase: str) -> int:
    """How often the phase was planned again without a person since a person last planned; interruptions do not count."""
    count = 0
    for plan in reversed(plans):
        if plan.by != "replan":
            break
        count += plan.reasons.get(phase) in ("failed", "lost")
    return count


def wait_until_planned(run: RunFolder, job_id: str) -> None:
    """Return once the job is in a plan: its planner may still be submitting. Raises RuntimeError if it never is."""
    main = job_id.split("_")[0]
    deadline = time.monotonic() + _WAIT_S
    while not any(main in plan.titles() for plan in read_plans(run)):
        if time.monotonic() > deadline:
            raise RuntimeError(f"job {job_id} is not in any plan of {run.plans}: its planner died or lost the race")
        time.sleep(0.5)
