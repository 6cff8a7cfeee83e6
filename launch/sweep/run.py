"""The loop of a sweep: every arm that has no row yet is run, here or on SLURM, and leaves one.

Each arm is a campaign with a run folder of its own, continued by `mlseg resume`, so that whatever ends the sweep ends nothing
else. An arm waits while another one is at work on a phase that it needs too, and then takes that phase over.
"""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from launch.campaign import check_inputs, prepare, uses_slurm
from launch.completion import recipe_hash, survey
from launch.config import CampaignConfig
from launch.graph import Phase, build_graph
from launch.run_folder import RunFolder
from launch.sweep.adopt import adopt
from launch.sweep.config import Arm
from launch.sweep.rows import row_of, rows_of, write_row
from mlseg_core.errors import EXIT_DONE, EXIT_FAILED, EXIT_INTERRUPTED
from mlseg_core.files import fingerprint

_POLL_S = 3.0
_GRACE_S = 180.0


@dataclass
class _Running:
    """An arm whose campaign runs. identities: of the phases that it still has to do."""

    arm: Arm
    run: RunFolder
    process: subprocess.Popen[bytes]
    told: bool = False
    """Whether it was asked to stop."""
    identities: set[str] = field(default_factory=set)


class SweepRun:
    """rows: their folder. beside: runs of other sweeps, whose phases are taken over too. say: told what happens, a line each."""

    def __init__(
        self,
        arms: Sequence[Arm],
        rows: Path,
        jobs: int,
        beside: Sequence[RunFolder] = (),
        say: Callable[[str], None] = print,
    ) -> None:
        self._rows, self._jobs, self._say = rows, jobs, say
        found = {(row["arm"], row["seed"]) for row in rows_of(arms, rows)}
        self._left = [arm for arm in arms if (arm.name, arm.seed) not in found]
        self._running: list[_Running] = []
        own = [RunFolder.of(arm.config) for arm in arms]
        self._runs = [*own, *(run for run in beside if run.path not in {one.path for one in own})]
        self._failed: list[str] = []
        self._stopping = self._interrupted = False

    def run(self) -> int:
        """Exit status: 0 once every arm has a row, 1 when some failed, 75 after SIGINT or SIGTERM. Raises UserError."""
        old = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            while self._left or self._running:
                if not self._stopping:
                    self._start_some()
                self._look()
                if self._stopping:
                    self._tell_to_stop()
                    if not self._running:
                        return EXIT_INTERRUPTED if self._left or self._interrupted else EXIT_DONE
                time.sleep(_POLL_S)
        finally:
            self._end_all()
            for number, handler in old.items():
                signal.signal(number, handler)
        return EXIT_FAILED if self._failed else EXIT_DONE

    def _start_some(self) -> None:
        for arm in list(self._left):
            if len(self._running) >= self._jobs or self._stopping:
                return
            config = _here(arm.config)
            run, graph = RunFolder.of(config), build_graph(config)
            if not run.exists():
                check_inputs(config)
            prepare(config)
            adopted = adopt(
                config, graph, run, [other for other in self._runs if other.path != run.path and other.exists()]
            )
            identities = _identities(config, graph, run)
            if any(identities & other.identities for other in self._running):
                continue  # until that one has done what both need
            self._left.remove(arm)
            said = f", {len(adopted)} phases taken over" if adopted else ""
            self._say(f"{arm.key}: started{said}; log: {_log(run)}")
            with open(_log(run), "ab") as log:
                command = [sys.executable, "-m", "launch.cli", "resume", str(run.path)]
                process = subprocess.Popen(
                    command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
                )
            self._running.append(_Running(arm, run, process, identities=identities))

    def _look(self) -> None:
        for one in list(self._running):
            config = one.run.config()
            graph = build_graph(config)
            status = one.process.poll()
            if status is None:
                one.identities = _identities(config, graph, one.run)
                continue
            self._running.remove(one)
            if all(completion.state == "done" for completion in survey(config, graph, one.run)):
                row = write_row(self._rows, one.arm, row_of(one.arm, one.run))
                self._say(f"{one.arm.key}: done; {row}")
            elif self._stopping:
                self._interrupted = True
            else:
                self._failed.append(one.arm.key)
                self._say(f"{one.arm.key}: failed with exit status {status}; see {_log(one.run)}")

    def _stop(self, number: int, frame: object) -> None:
        self._stopping = True  # the loop tells them: one may just be about to start

    def _tell_to_stop(self) -> None:
        for one in self._running:
            if not one.told:
                one.process.terminate()
                one.told = True

    def _end_all(self) -> None:
        """Stop the campaigns that still run, whatever ended the loop: none goes on unseen."""
        self._tell_to_stop()
        deadline = time.monotonic() + _GRACE_S
        for one in self._running:
            try:
                one.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()


def _here(config: CampaignConfig) -> CampaignConfig:
    """The config, on SLURM with replan=login: the process that the sweep waits for then stays until the campaign has ended."""
    if not uses_slurm(config):
        return config
    return config.model_copy(update={"cluster": config.cluster.model_copy(update={"replan": "login"})})


def _identities(config: CampaignConfig, graph: Sequence[Phase], run: RunFolder) -> set[str]:
    """Identities of the phases that are not done: two runs that would do the same work have the same ones."""
    known: dict[str, str] = {}
    for phase in graph:
        known[phase.name] = fingerprint([recipe_hash(config, phase), [known[name] for name in phase.inputs]])
    return {known[s.phase.name] for s in survey(config, graph, run) if s.state != "done"}


def _log(run: RunFolder) -> Path:
    return run.path / "sweep.log"
