"""Saves and restores training state: the same checkpoint on every rank, and the teacher."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mlseg_core.files import fingerprint, read_json, sha256_file
from mlseg_dist.augment.style_ops import reads_styled
from mlseg_dist.config import LearningConfig
from mlseg_dist.events import Events
from mlseg_dist.run_folder import labels_folder, shards_folder, styled_folder, teacher_record
from mlseg_dist.training import checkpoint
from mlseg_dist.training.engine import Engine, World
from mlseg_dist.training.state.average import Average
from mlseg_dist.training.state.batchnorm import RunningStatistics
from mlseg_dist.training.state.exclusions import Exclusions
from mlseg_dist.training.state.skips import Skips
from mlseg_dist.training.state.teacher import BestTeacher

# With a full disk at the end of a phase: others' clean-ups may free it, and all ranks' GPUs idle meanwhile.
_PATIENCE_S = 120.0


class TrainingState:
    """All of a phase's training that changes from step to step. All ranks call; rank 0 reads and writes what only one must.

    exclusions: of training; unscored: of validation.
    """

    def __init__(
        self,
        phase: Path,
        events: Events,
        world: World,
        engine: Engine,
        statistics: RunningStatistics,
        average: Average,
        exclusions: Exclusions,
        unscored: Exclusions,
        skips: Skips,
        best: BestTeacher,
    ) -> None:
        self._phase, self._events, self._world = phase, events, world
        self._engine, self._statistics, self._average = engine, statistics, average
        self._exclusions, self._unscored, self._skips, self.best = exclusions, unscored, skips, best
        self._folder = phase / "checkpoints"
        self._saver: checkpoint.Saver | None = None
        self._has_average = bool(average.state_dict())

    def open(self, keep: int, keep_every: int | None) -> int | None:
        """Take the newest checkpoint that verifies; returns its step, None where there is none yet."""
        step = self._load(None)
        if self._world.rank == 0:
            self._saver = checkpoint.Saver(self._folder, keep, keep_every, self._events.log, resumed=step or 0)
        return step

    def go_back(self, at_most: int) -> int | None:
        """To the newest checkpoint of `at_most` steps or fewer; what is beyond it is given up. None: there is none."""
        skips = self._skips.record()
        if self._saver:
            self._saver.join()  # what is being written counts too
        step = self._load(at_most)
        if step is not None:
            self._skips.load(skips)
            if self._saver:
                self._saver.rewind(step)
        return step

    def _load(self, at_most: int | None) -> int | None:
        name = None
        if self._world.rank == 0:
            found = checkpoint.newest(self._folder, self._events.log, at_most)
            name = found.name if found else None
        name = self._world.from_first(name)  # one process reads and hashes all there is, and all take the same
        if name is None:
            return None
        state, cursor = checkpoint.load(self._folder / name)
        self._engine.load(state)
        self._average.load_state_dict(state.get("ema", {}))
        self._statistics.reload()
        self.best.load(cursor["best"])
        if damage := self._world.from_first(self.best.damage() if self._world.rank == 0 else ""):
            if self._world.rank == 0:
                text = f"the weights of the best validation so far are lost, a later one will do: {damage}"
                self._events.log("checkpoint-damaged", text, damage=damage)
            self.best.load(None)
        self._exclusions.load(cursor["excluded"])
        self._unscored.load(cursor.get("validation_excluded", []))  # cursors of earlier code have none
        self._skips.load(cursor["skips"])
        return int(cursor["step"])

    def save(self, step: int, made_of: dict[str, Any]) -> None:
        """Returns once the state has been copied; it is written beside the next steps."""
        state = self._engine.state()
        if self._has_average:
            state["ema"] = self._average.weights()
        if self._saver:
            cursor = {
                "step": step,
                "world": self._world.size,
                "best": self.best.record,
                "excluded": self._exclusions.pairs,
                "validation_excluded": self._unscored.pairs,
                "skips": self._skips.record(),
                "made_of": made_of,
            }
            self._saver.save(step, state, cursor, self.best.step)

    def settled(self) -> str:
        """Wait until the newest checkpoint lies on disk, or cannot; says which, for people."""
        try:
            if self._saver:
                self._saver.wait()
        except checkpoint.NotSaved as error:
            return f"NOT saved: {error}"
        return "checkpoint saved"

    def publish(self, alive: Callable[[], object] = lambda: None) -> None:
        """The phase has a teacher. Raises checkpoint.NotSaved when the disk stays full, checkpoint.Damaged.

        alive: called while it waits for the disk.
        """
        if self._saver:
            self._saver.wait(_PATIENCE_S, alive)
            self.best.publish()

    def close(self) -> None:
        if self._saver:
            self._saver.close()


def made_of(config: LearningConfig, step_index: int, run: Path) -> dict[str, Any]:
    """Hashes of what a phase's checkpoints come from, for people who ask later."""
    found = {
        "config": fingerprint(config.model_dump(mode="json")),
        "corpus": sha256_file(shards_folder(run) / "manifest.json"),
    }
    code = run / "code" / "frozen.json"
    if code.exists():
        found["code"] = read_json(code)["hash"]
    number, before = config.round_of(step_index), config.step_before(step_index)
    if number is not None:
        found["labels"] = sha256_file(labels_folder(run, number) / "manifest.json")
    if before is not None and (number is not None or config.steps[step_index].start == "teacher"):
        found["teacher"] = teacher_record(run, config.steps[before].name)["sha256"]
    if reads_styled(config.steps[step_index].augment):
        found["styled"] = sha256_file(styled_folder(run) / "manifest.json")
    return found
