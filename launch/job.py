"""What runs inside a job: one process of one phase. Pickles hold only the run folder, the phase and the worker's place.


It ends with the project's exit statuses and leaves its state in the phase's folder: 0 done, 1 failed, 2 the user's
mistake, 75 interrupted (requeued on SLURM).
"""

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Literal, NoReturn

from submitit import JobEnvironment

from launch import alerts
from launch.completion import input_hashes, is_done, phase_fingerprint, publish_done, recipe_hash
from launch.config import CampaignConfig
from launch.endings import FAILURES, OF_EXIT, STUCK, in_words_for_a_person, one_line, outlive_a_full_disk
from launch.environment import START, export_place, export_ranks
from launch.estimate import rates
from launch.graph import Phase, build_graph
from launch.local.liveness import die_with_planner
from launch.phases import MapKind, MapWork, block_of, job_of, kind_of
from launch.run_folder import RunFolder, package_folders
from launch.slurm.job_plans import wait_until_planned
from launch.slurm.nodes import check_gpus
from launch.slurm.queue import requeue
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED, Interrupted, UserError, exit_status
from mlseg_core.exactly_once.run import Incomplete, run_units
from mlseg_core.files import read_json
from mlseg_core.logs import log_as_job
from mlseg_core.node import node_name

_log = logging.getLogger(__name__)


JobPart = Literal["work", "merge", "both"]
_FENCE_POLL_S = 5.0


def run_job(run_path: str, phase_name: str, part: JobPart, worker: int = 0, workers: int = 1) -> NoReturn:
    """Do one process's part of a phase and exit.

    part: for a map on SLURM `work` or `merge`, locally `both`; for any other phase `work`.
    worker, workers: the element and the size of a map's array on SLURM; each has as many workers as the job has ranks.
    """
    outlive_a_full_disk()
    signals = Signals()
    run = RunFolder(Path(run_path))
    die_with_planner(run.path)
    environment = JobEnvironment()
    log_as_job(environment.global_rank)
    ranks = environment.num_tasks
    worker, workers = worker * ranks + environment.global_rank, workers * ranks
    export_place(environment)
    process = PhaseProcess(
        run, part, worker, attempt_name(environment), environment.job_id, str(environment.paths.stdout)
    )
    status = EXIT_DONE
    phase: Phase | None = None
    watch: alerts.Watching | None = None
    try:
        assert_frozen(run)
        run.enter_working_folder()
        config = run.config()
        graph = build_graph(config)
        phase = next(phase for phase in graph if phase.name == phase_name)
        if environment.cluster == "slurm":
            wait_until_planned(run, environment.job_id)
        process.report(phase, "running")
        if process.index == 0:
            watch = alerts.watch(run, config, phase)
        _do(config, graph, run, phase, process, signals, worker, workers)
    except BaseException as raised:
        error = in_words_for_a_person(raised, run)
        status = exit_status(error)
        process.try_to_report(phase, OF_EXIT.get(status, "failed"), error)
        _log.error(one_line(error), exc_info=None if status in OF_EXIT else raised)
        if phase is not None and (process.index == 0 or status != EXIT_INTERRUPTED):
            facts = {"process": process.index, "attempt": process.attempt}
            if status == EXIT_INTERRUPTED:
                run.events(phase).record("stopped", one_line(error), "info", **facts)
            else:
                run.events(phase).record("failed", one_line(error), "error", **facts)
    else:
        process.try_to_report(phase, "done")
        if process.index == 0:
            run.events(phase).log("finished", f"phase {phase.name} is done", "info", attempt=process.attempt)
    if watch is not None:
        watch.close(final=status != EXIT_INTERRUPTED)
    if status == EXIT_INTERRUPTED and signals.wants_requeue and environment.cluster == "slurm":
        requeue_all(environment)
    sys.exit(status)


def attempt_name(environment: JobEnvironment) -> str:
    """Job id, restart count, and on SLURM when the batch script began: names one attempt of a job.

    A slurmctld that was killed may start a job twice with the same restart count, as it has forgotten the first start.
    """
    begun = os.environ.get(START, "")
    return f"{environment.job_id}-{os.environ.get('SLURM_RESTART_COUNT', '0')}" + (f"-{begun}" if begun else "")


class Signals:
    """USR2, TERM and INT set a flag that the work looks at between steps or units."""

    def __init__(self) -> None:
        self.stopped = self.wants_requeue = False
        for number in (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.stopped = True
        # TERM alone comes with scancel, or when SLURM requeues by itself: then it is not ours to requeue.
        self.wants_requeue |= number == signal.SIGUSR2


@dataclass
class PhaseProcess:
    """What this process reports: in tasks/PART-INDEX.json, and in state.json if it is the first one or has failed."""

    run: RunFolder
    part: JobPart
    index: int
    attempt: str
    job: str
    log: str
    alone: bool = False
    _began: dict[str, Any] = field(default_factory=dict)

    def report(self, phase: Phase | None, status: str, error: BaseException | None = None) -> None:
        if phase is None:
            return
        facts: dict[str, Any] = {
            "status": status,
            "part": self.part,
            "job": self.job,
            "attempt": self.attempt,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "error": one_line(error) if error else "",
            "log": self.log,
        }
        self.run.write_task(phase, self.index, **facts, **self._since(phase))
        if (self.index == 0 or error) and not self.is_superseded(phase):
            state = self.run.state(phase)
            if not _explains_better(state, facts):
                self.run.write_state(phase, **{**state, **facts, "merging": None})

    def _since(self, phase: Phase) -> dict[str, Any]:
        """begun, starts: when this process first started in the phase, and how often, over all attempts (phase_time.py)."""
        if not self._began:
            before = self.run.task(phase, self.part, self.index)
            self._began = {
                "begun": before.get("begun", round(time.time(), 3)),
                "starts": int(before.get("starts", 0)) + 1,
            }
        return self._began

    def say_merging(self, phase: Phase, units: int, unit: str) -> None:
        """For `mlseg status`: what this process does while no unit makes progress."""
        with suppress(OSError):
            merging = {"units": units, "unit": unit, "since": time.time()}
            self.run.write_state(phase, **{**self.run.state(phase), "merging": merging})

    def try_to_report(self, phase: Phase | None, status: str, error: BaseException | None = None) -> None:
        """Report the end. If the disk does not take it, the exit status has to do."""
        try:
            self.report(phase, status, error)
        except OSError as trouble:
            _log.error("%s cannot be written down: %s", status, trouble)

    def begin(self, phase: Phase, recipe_hash: str, inputs: dict[str, str], alone: bool) -> None:
        """Record what the results are made from, before anything is written. alone: this attempt takes over from older ones."""
        state = self.run.state(phase)
        if alone and self.index == 0:
            self.run.write_state(phase, **{**state, "recipe": recipe_hash, "inputs": inputs, "owner": self.attempt})
        elif state.get("recipe") != recipe_hash or state.get("inputs") != inputs:
            self.run.write_state(phase, **{**state, "recipe": recipe_hash, "inputs": inputs})
        self.alone = alone

    def is_superseded(self, phase: Phase) -> bool:
        """True when a newer attempt has taken over: this job's node was thought lost."""
        return self.alone and self.run.state(phase).get("owner", self.attempt) != self.attempt


def _explains_better(state: dict[str, Any], facts: dict[str, Any]) -> bool:
    """Whether an earlier report of the same attempt explains better why the phase failed: later ones are its consequences."""
    said, now = state.get("status"), facts["status"]
    if state.get("attempt") != facts["attempt"] or said not in FAILURES or now not in FAILURES:
        return False
    return FAILURES.index(said) < FAILURES.index(now)


def _do(
    config: CampaignConfig,
    graph: Sequence[Phase],
    run: RunFolder,
    phase: Phase,
    process: PhaseProcess,
    signals: Signals,
    worker: int,
    workers: int,
) -> None:
    started = time.time()
    if is_done(config, graph, phase, run):
        _log.info("phase %s is done already", phase.name)
        return
    inputs = input_hashes(graph, phase, run)
    kind = kind_of(phase)
    if kind.on_gpu and process.part != "merge":
        on_slurm = JobEnvironment().cluster == "slurm"
        check_gpus(run, block_of(config, phase), job_of(config, phase), on_slurm, isinstance(kind, MapKind))
    process.begin(phase, recipe_hash(config, phase), inputs, alone=not isinstance(kind, MapKind))
    if isinstance(kind, MapKind):
        map_work, folder = kind.map_work(config, run, phase), kind.folder(run, phase)
        if process.part != "merge":
            _work(map_work, folder, phase.name, signals, worker, workers)
        if process.part == "work" or worker != 0:
            return
        _wait_for_others(run, phase, process, workers, signals)
        process.say_merging(phase, len(map_work.units), map_work.unit)
        _merge(map_work, folder)
    else:
        export_ranks(JobEnvironment(), process.attempt, run.logs(phase))
        ranks = int(os.environ["WORLD_SIZE"])
        if process.index == 0:
            run.events(phase).log(
                "started", f"{ranks} ranks, attempt {process.attempt}", "info", ranks=ranks, attempt=process.attempt
            )
        kind.work(config, run, phase, _JobControl(signals, process, phase))
        if int(os.environ["RANK"]) != 0:
            return
        if process.is_superseded(phase):
            raise Interrupted("a newer attempt of this phase has taken over")
    if publish_done(config, phase, run, inputs, started, process.attempt):
        _log.info("phase %s done: %s", phase.name, phase_fingerprint(config, phase, inputs)[:12])
        with suppress(OSError):  # the phase is done, whatever becomes of this
            rates.keep(run, rates.measured(config, graph, run))


def _work(map_work: MapWork, folder: Path, label: str, signals: Signals, worker: int, workers: int) -> None:
    map_work.prepare()
    failures = run_units(
        map_work.units,
        map_work.work,
        folder,
        describe=map_work.describe,
        worker=worker,
        workers=workers,
        label=label,
        stop=lambda: signals.stopped,
        progress_unit=map_work.unit,
        piece_unit=map_work.piece,
    )
    if failures and not map_work.goes_on:
        text = f"{len(failures)} of {len(map_work.units)} {map_work.unit} failed here"
        if workers > 1 and not any(failed.tries for failed in failures):
            text += f", none was done, and other workers try them: is {node_name()} sound?"
        text += _reason(folder, failures[0].unit)
        raise UserError(text) if all(failed.mistake for failed in failures) else RuntimeError(text)


def _wait_for_others(run: RunFolder, phase: Phase, process: PhaseProcess, workers: int, signals: Signals) -> None:
    """On this machine one process merges once the others have ended: a further start would cost time."""
    while process.part == "both":
        mine = [task for task in run.tasks(phase) if task["job"] == process.job and task["part"] == "both"]
        if sum(task["status"] != "running" for task in mine) >= workers - 1:
            return
        if signals.stopped:
            raise Interrupted("stopped before merging")
        time.sleep(0.1)


def _merge(map_work: MapWork, folder: Path) -> None:
    try:
        map_work.publish()
    except Incomplete as error:
        why = next(filter(None, (_reason(folder, unit) for unit in error.missing)), "")
        raise RuntimeError(f"{error}{why}") from error


def _reason(folder: Path, unit: str) -> str:
    """Why a unit failed, where that is known."""
    path = folder / "failed" / f"{unit}.json"
    if not path.exists():
        return ""
    failed = read_json(path)
    return f"; {unit} on {failed['host']}: {failed['reason']} (see {path})"


class _JobControl:
    """Control: stop once a signal came, or once a newer attempt of the phase has begun."""

    def __init__(self, signals: Signals, process: PhaseProcess, phase: Phase) -> None:
        self._signals, self._process, self._phase = signals, process, phase
        self._looked = time.monotonic()

    def __call__(self) -> bool:
        if self._process.index == 0 and time.monotonic() - self._looked > _FENCE_POLL_S:
            self._looked = time.monotonic()
            self._signals.stopped |= self._process.is_superseded(self._phase)
        return self._signals.stopped

    def give_up(self, why: str) -> NoReturn:
        try:
            self._process.try_to_report(self._phase, STUCK, RuntimeError(why))
            print(f"mlseg: gave up: {why}", file=sys.stderr, flush=True)
        finally:
            os._exit(EXIT_FAILED)


def requeue_all(environment: JobEnvironment) -> None:
    """Put this process's job back in the queue. Returns when SLURM has had the time to end it."""
    if environment.global_rank == 0:
        requeue(environment.raw_job_id)
    time.sleep(60)  # SLURM ends the step; leaving early would make --kill-on-bad-exit cut rank 0 short


def assert_frozen(run: RunFolder) -> None:
    """Raises UserError unless the packages come from the run folder (names such as `launch` exist elsewhere too)."""
    for package, folder in package_folders().items():
        if folder.resolve().parent != run.code.resolve():
            raise UserError(
                f"package {package!r} comes from {folder}, not from the run's frozen code",
                run.code,
                "Start jobs with `mlseg run`, and keep PYTHONPATH out of cluster setup lines.",
            )
