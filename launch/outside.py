"""What can be seen of a campaign outside its run folder: its jobs in SLURM's queue, or the process that runs it on some machine.

In: a run folder, its plans. Out: jobs, planner, and why what may live cannot be seen, or that SLURM does not answer.
"""

import os
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field

from launch.config import CampaignConfig
from launch.graph import build_graph
from launch.guard import hidden_planner, ids_of
from launch.local.liveness import running_planner
from launch.local.record import LocalPlanner
from launch.run_folder import RunFolder
from launch.run_folder.identity import owner_of, run_id
from launch.slurm.job_plans import JobPlan
from launch.slurm.queue import QueuedJob, has_slurm
from launch.slurm.run_jobs import RunJobs, read_run_jobs
from launch.slurm.silence import silence_in_words
from mlseg_core.errors import UserError
from mlseg_core.node import process_exists, user_name


@dataclass(frozen=True)
class Outside:
    """What is seen outside the run folder. unseen: why jobs or processes that may live cannot be seen; "" when all can.

    silent: SLURM does not answer.
    """

    slurm: bool
    jobs: list[QueuedJob]
    planner: LocalPlanner | None
    unseen: str = ""
    notes: list[str] = field(default_factory=list)
    silent: bool = False

    @property
    def goes_on(self) -> bool:
        return bool(self.unseen or self.planner) or any(job.can_run for job in self.jobs)

    @classmethod
    def of(cls, run: RunFolder, config: CampaignConfig, plans: Sequence[JobPlan]) -> "Outside":
        planner = running_planner(run.path)
        if not plans or config.cluster.executor == "local":
            return cls(False, [], planner, "" if planner or plans else _unseen_processes(run, config))
        try:
            return cls._asked(run, config, plans, planner)
        except (RuntimeError, UserError, OSError, subprocess.TimeoutExpired) as error:
            why = "SLURM does not answer"
            note = f"{silence_in_words(error)}. Jobs go on without it; shown is what the run folder's files say."
            return cls(True, [], planner, why, [note], silent=True)

    @classmethod
    def _asked(
        cls, run: RunFolder, config: CampaignConfig, plans: Sequence[JobPlan], planner: LocalPlanner | None
    ) -> "Outside":
        """Raises RuntimeError, UserError, TimeoutExpired when SLURM does not answer."""
        if not has_slurm():
            cancelled = plans[-1].by == "cancel"
            unseen = "" if cancelled or planner else "its jobs are on SLURM, which this machine cannot ask"
            return cls(False, [], planner, unseen)
        found = read_run_jobs(run, plans, config.name, settle=False, everyone=False)
        hidden = hidden_planner(run, plans)
        unseen = f"{hidden} submitted its jobs, and this SLURM shows nobody the jobs of others" if hidden else ""
        return cls(True, found.own, planner, unseen, _notes(run, found))


def _notes(run: RunFolder, found: RunJobs) -> list[str]:
    """What a person should know of the jobs beside their phases."""
    live = [job for job in found.own if job.can_run]
    others = sorted({job.user for job in live if job.uid != os.getuid()})
    notes = [f"its jobs belong to {', '.join(others)}, who alone can go on with it or end it"] if others else []
    if moved := [job for job in found.elsewhere if job.can_run]:
        notes.append(f"this folder was moved: {ids_of(moved)} still go to {moved[0].run_path}; move it back, or cancel")
    if strange := [job for job in found.strangers if job.can_run]:
        notes.append(f"{ids_of(strange)} of a run that was deleted or moved still go to this folder; scancel them")
    return notes


def _unseen_processes(run: RunFolder, config: CampaignConfig) -> str:
    """Where the processes of a run were that an earlier version started locally, without a record; "" when none can live."""
    if run_id(run):
        return ""
    for phase in build_graph(config):
        state = run.state(phase)
        if state.get("status") == "running" and not (run.phase(phase) / "done.json").exists():
            owner = owner_of(run.phase(phase) / "state.json")
            who = user_name(owner) if owner is not None else "somebody"
            here = state.get("host") == socket.gethostname()
            if not here or (owner != os.getuid() and process_exists(int(state.get("pid", 0)))):
                return f"a process of {who} was at it on {state.get('host')}, and whether it lives cannot be seen here"
    return ""
