"""Submitting a phase's jobs to SLURM through submitit, and the job that plans again when one of them fails."""

import importlib
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from submitit import SlurmExecutor
from submitit.core.utils import FailedJobError
from submitit.helpers import clean_env

from launch.config import CampaignConfig
from launch.environment import START, environment, job_environment
from launch.graph import Phase
from launch.job import run_job
from launch.phases import MapKind, block_of, kind_of
from launch.private import private_logs
from launch.resources.blocks import Block, JobConfig
from launch.run_folder import RunFolder
from launch.run_folder.identity import run_id
from launch.slurm.job_names import job_name
from launch.slurm.nodes import excluding
from launch.slurm.refusal import refusal
from mlseg_core.errors import UserError

_REPLAN = "launch.slurm_plan"  # by name: it plans with this module
_SIGNAL_DELAY_S = 120  # USR2 comes so long before the time limit: enough to save a checkpoint


class Submitter:
    """Submits jobs of one run folder and remembers their ids, so that a half-made plan can be taken back."""

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.config: CampaignConfig = run.config()
        self.ids: list[str] = []
        self._mark = run_id(run)

    def submit(self, phase: Phase, after: Sequence[str], again: bool = False) -> dict[str, str]:
        """Submit the phase's jobs to start when the jobs `after` have ended well. Returns part -> job id.

        again: an earlier attempt failed, so they ask for what the block's `retry` says.
        """
        block = block_of(self.config, phase)
        if not isinstance(kind_of(phase), MapKind):
            return {"work": self._submit(phase, "work", block, again, _afterok(after))}
        workers = self.config.cluster.job(block).workers
        work = self._submit(phase, "work", block, again, _afterok(after), workers)
        # afterany: the units decide whether the map is complete, not the fate of a worker
        ends = ",".join(filter(None, [f"afterany:{work}", _afterok(after)]))
        return {"work": work, "merge": self._submit(phase, "merge", "small", again, ends)}

    def submit_replan(self, watched: Sequence[str]) -> str:
        """One job that plans again as soon as one of the watched jobs fails, and that SLURM drops when all end well."""
        folder = self.run.path / "plans" / "logs"
        job = self.config.cluster.job("small")
        executor = job_executor(self.run, self.config.name, folder, "replan", job, mark=self._mark, calls_sbatch=True)
        executor.update_parameters(dependency="?".join(f"afternotok:{job}" for job in watched))
        replan = importlib.import_module(_REPLAN).replan
        with private_logs(folder, job):
            return self._run("small", lambda: [executor.submit(replan, str(self.run.path))])

    def _submit(
        self, phase: Phase, part: str, block: Block, again: bool, dependency: str | None, workers: int = 1
    ) -> str:
        title, job = f"{phase.folder}-{part}", self.config.cluster.job(block)
        job = job.again() if again else job
        executor = job_executor(self.run, self.config.name, self.run.logs(phase), title, job, mark=self._mark)
        if dependency:
            executor.update_parameters(dependency=dependency)
        arguments = [(str(self.run.path), phase.name, part, worker, workers) for worker in range(workers)]
        with private_logs(self.run.logs(phase), job):
            return self._run(block, lambda: executor.map_array(run_job, *zip(*arguments, strict=True)))

    def _run(self, block: Block, submit: Callable[[], Sequence[Any]]) -> str:
        limit = f"A plan queues all its jobs at once; how many workers fit is said by: mlseg preflight {self.run.path}"
        job_id = submitted(block, submit, limit)
        self.ids.append(job_id)
        return job_id


def submitted(block: Block, submit: Callable[[], Sequence[Any]], limit: str) -> str:
    """Call submit() as from a shell outside any job. Returns the id of the job, or of the array, that it submitted.

    limit: how to fix it that the user may not queue so many jobs. Raises UserError when SLURM refuses.
    """
    kept = submitting_environment()
    try:
        with clean_env(), environment(kept):
            return str(submit()[0].job_id.split("_")[0])
    except FailedJobError as error:
        said = refusal(str(error))
        fix = limit if "submit limit" in said else f"Correct cluster.{block}."
        raise UserError(f"SLURM refused a job: {said}", f"cluster.{block}", fix) from error


def submitting_environment() -> dict[str, str]:
    """Variables to keep: clean_env hides the settings of the job that we may run in, but also where SLURM's own config lies."""
    return {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}


def sbatch_environment() -> dict[str, str]:
    """For `sbatch` called by its name: this process's environment without the settings of the job that we may run in."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SBATCH_", "SLURM_"))}
    return inherited | submitting_environment()


def job_executor(
    run: RunFolder,
    campaign: str,
    folder: Path,
    title: str,
    job: JobConfig,
    code: Path | None = None,
    mark: str = "",
    calls_sbatch: bool = False,
) -> SlurmExecutor:
    """An executor that submits jobs with these resources.

    campaign: its name, for the job's.  folder: for logs and pickles.  code: folder of the packages, instead of the run folder's.
    mark: the run's id, for the job's name.  calls_sbatch: the job submits others, which containers cannot.
    """
    executor = SlurmExecutor(folder, python=_interpreter(job))
    optional: dict[str, Any] = {"partition": job.partition, "account": job.account, "qos": job.qos}
    optional["mem"] = job.mem
    optional["gpus_per_node"] = job.gpus or None
    variables = job_environment(run, job)
    if code is not None:
        variables["PYTHONPATH"] = str(code)
    executor.update_parameters(
        job_name=job_name(run, campaign, title, mark),
        time=job.minutes,
        nodes=job.nodes,
        ntasks_per_node=job.tasks_per_node,
        cpus_per_task=job.cpus_per_task,
        signal_delay_s=_SIGNAL_DELAY_S,
        stderr_to_stdout=True,
        wckey=None,
        setup=[*job.setup, f"export {START}=$(date +%s)", *_exports(variables)],
        # a rank that fails ends the others; srun does not inherit the CPUs of sbatch
        srun_args=["--kill-on-bad-exit=1", f"--cpus-per-task={job.cpus_per_task}"],
        additional_parameters={"requeue": True, "kill_on_invalid_dep": "yes", **excluding(run, job)},
        **{key: value for key, value in optional.items() if value is not None},
    )
    if calls_sbatch:
        executor.update_parameters(use_srun=False)
        if job.container:
            executor.python = shlex.quote(sys.executable)
    return executor


def script(run: RunFolder, campaign: str, name: str, job: JobConfig) -> str:
    """The batch script of a job with these resources, without its dependencies and its array."""
    executor = job_executor(run, campaign, run.path / "logs", name, job)
    return executor._make_submission_file_text(executor._submitit_command_str, "0")


def _interpreter(job: JobConfig) -> str:
    """The shell words before `-m`: this Python or the job's own, in its container if it has one."""
    return shlex.join([*job.command, job.python or sys.executable])


def _exports(variables: dict[str, str]) -> list[str]:
    """Shell lines that export the variables. What `module load` puts on PYTHONPATH stays there, after our code."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in variables.items() if name != "PYTHONPATH"]
    code = shlex.quote(variables["PYTHONPATH"])
    return [*lines, f'export PYTHONPATH={code}"${{PYTHONPATH:+:$PYTHONPATH}}"']


def _afterok(jobs: Sequence[str]) -> str | None:
    return f"afterok:{':'.join(jobs)}" if jobs else None
