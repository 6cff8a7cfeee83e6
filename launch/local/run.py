"""The same graph on this machine: phase after phase through submitit's local executor, with live progress.

Only the numbers of processes, threads and GPUs of a job count here, not `setup` or what concerns SLURM.
"""

import os
import signal
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from submitit import Job, LocalExecutor
from submitit.helpers import clean_env

from launch.completion import is_done
from launch.config import CampaignConfig
from launch.endings import FAILURES, STUCK
from launch.environment import environment, job_environment
from launch.graph import Phase, build_graph
from launch.job import JobPart, run_job
from launch.local.console import Console
from launch.local.liveness import TOKEN_VARIABLE, local_planner
from launch.phase_progress import phase_tally
from launch.phase_time import took
from launch.phases import MapKind, job_of, kind_of
from launch.resources.gpus import asked_gpus, give_gpus, tasks_here
from launch.run_folder import RunFolder
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USER_ERROR
from mlseg_core.files import read_json

_POLL_S = 0.2
_GRACE_S = 120.0  # to save a checkpoint after a signal
_FAILED_GRACE_S = 5.0  # for the other processes of a phase once one has failed
_TRIES = 3  # of a phase that was interrupted, killed or stuck while nobody asked us to stop
_KILLED = "killed"
_LOCAL_LIMIT_MIN = 60 * 24 * 365  # submitit wants a time limit; there is none here


def run_locally(run: RunFolder, console: Console) -> int:
    """Run every phase that is not done. Returns the exit status; a failure has been shown."""
    config = run.config()
    graph = build_graph(config)
    with local_planner(run.path) as token, _Stopping() as stopping:
        left = [phase for phase in graph if not is_done(config, graph, phase, run)]
        console.note(f"{run.path}: {len(graph) - len(left)} of {len(graph)} phases are done; running here")
        for phase in left:
            if stopping.asked:  # between two phases there is no task to tell
                console.note("interrupted; start again to continue")
                return EXIT_INTERRUPTED
            for attempt in range(_TRIES):
                console.begin(phase, len(graph))
                status = _run_phase(run, config, phase, token, console, stopping)
                if status != EXIT_INTERRUPTED or stopping.asked or attempt == _TRIES - 1:
                    break
            if status == EXIT_INTERRUPTED:
                if not stopping.asked:
                    console.fail(phase, f"it did not come to its end in {_TRIES} tries", run.logs(phase))
                    return EXIT_FAILED
                console.note("interrupted; start again to continue")
            if status != EXIT_DONE:
                return status
            if not is_done(config, graph, phase, run):
                console.fail(phase, "it ended without being done", run.logs(phase))
                return EXIT_FAILED
            console.end(phase, took(run.phase(phase), read_json(run.phase(phase) / "done.json")))
    return EXIT_DONE


def _run_phase(
    run: RunFolder, config: CampaignConfig, phase: Phase, token: str, console: Console, stopping: "_Stopping"
) -> int:
    part: JobPart = "both" if isinstance(kind_of(phase), MapKind) else "work"
    return LocalJob(run, config, phase, part, token).wait(console, stopping)


class LocalJob:
    """The running job of a phase: submitit's controller process and its tasks."""

    def __init__(self, run: RunFolder, config: CampaignConfig, phase: Phase, part: JobPart, token: str) -> None:
        self.run, self.phase, self.part = run, phase, part
        self._told: set[int] = set()
        """Pids of the tasks that were asked to stop."""
        resources = job_of(config, phase)
        gpus, tasks = asked_gpus(resources).per_node, tasks_here(resources)
        self.size = resources.workers * tasks if part == "both" else tasks
        executor = LocalExecutor(run.logs(phase))
        executor.update_parameters(
            tasks_per_node=self.size,
            timeout_min=_LOCAL_LIMIT_MIN,
            stderr_to_stdout=True,
        )
        give_gpus(executor, gpus)
        variables = {**job_environment(run, resources), TOKEN_VARIABLE: token}
        with clean_env(), environment(variables), _ignored(signal.SIGINT):
            # the controller would answer Ctrl-C by killing its tasks; we tell them to stop, and wait
            self.job: Job[Any] = executor.submit(run_job, str(run.path), phase.name, part)

    def wait(self, console: Console, stopping: "_Stopping") -> int:
        """Show progress until the processes have ended; returns an exit status."""
        ending: float | None = None
        failure: dict[str, Any] | None = None
        while not self.job.done():
            console.update(self.phase, phase_tally(self.run, self.phase))
            if failure is None and (failure := self._failed_task()) is not None:
                ending = time.monotonic() + _FAILED_GRACE_S
            if stopping.asked and ending is None:
                ending = time.monotonic() + _GRACE_S
                console.note("stopping at the next safe point …")
            if ending is not None:
                self._tell_to_stop()  # also tasks that have only begun since
            if ending is not None and time.monotonic() > ending:
                self._signal(signal.SIGKILL)
            time.sleep(_POLL_S)
        return self._outcome(console, stopping, failure)

    def _outcome(self, console: Console, stopping: "_Stopping", failure: dict[str, Any] | None) -> int:
        tasks = self._tasks()
        failure = failure or self._failed_task()
        statuses = [task["status"] for task in tasks]
        if failure is None and "interrupted" in statuses:
            return EXIT_INTERRUPTED
        if failure is None and len(tasks) == self.size and set(statuses) == {"done"}:
            return EXIT_DONE
        if failure is None and stopping.asked:
            return EXIT_INTERRUPTED
        log = Path(failure["log"]) if failure else self.job.paths.stdout
        if failure and failure["status"] in (STUCK, _KILLED) and not stopping.asked:
            console.note(f"{self.phase.name}: {failure['error']} (log: {log})")
            return EXIT_INTERRUPTED
        console.fail(self.phase, failure["error"] if failure else "a process ended before it could say why", log)
        return EXIT_USER_ERROR if failure and failure["status"] == "user error" else EXIT_FAILED

    def _tasks(self) -> list[dict[str, Any]]:
        """Records of this job's processes."""
        tasks = self.run.tasks(self.phase)
        return [task for task in tasks if task.get("job") == self.job.job_id and task.get("part") == self.part]

    def _failed_task(self) -> dict[str, Any] | None:
        """The process that failed; the user's mistake first, then an error with a reason, then one that vanished."""
        tasks = self._tasks()
        for status in FAILURES:
            for task in tasks:
                if task["status"] == status:
                    return task
        for task in tasks:
            if task["status"] == "running" and not _is_alive(task["pid"]):
                return {**task, "status": _KILLED, "error": "the process was killed (out of memory?)"}
        return None

    def _tell_to_stop(self) -> None:
        """Send SIGTERM to each running task once: after a second one it would not wait for its safe point."""
        told = self._signal(signal.SIGTERM, self._told)
        self._told.update(told)

    def _signal(self, number: signal.Signals, but: Collection[int] = ()) -> list[int]:
        """Signal the running tasks, except those whose pids are in `but`. Returns the pids that were signalled."""
        pids = [task["pid"] for task in self._tasks() if task["status"] == "running" and _is_alive(task["pid"])]
        pids = [pid for pid in pids if pid not in but]
        for pid in pids:
            os.kill(pid, number)
        return pids


class _Stopping:
    """asked: someone pressed Ctrl-C or sent TERM to the planner; a second Ctrl-C ends it at once."""

    def __init__(self) -> None:
        self.asked = False
        self._old: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "_Stopping":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *unused: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: object) -> None:
        if self.asked and number == signal.SIGINT:
            raise KeyboardInterrupt  # the tasks see that we are gone and end
        self.asked = True


@contextmanager
def _ignored(number: signal.Signals) -> Iterator[None]:
    old = signal.signal(number, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(number, old)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
