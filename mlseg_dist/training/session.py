"""What a phase's training is made of: opened, resumed from a checkpoint, checked between steps, closed in good order."""

import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

import torch

from mlseg_core.progress import Progress
from mlseg_core.randomness import integer_seed
from mlseg_dist.config import LearningConfig
from mlseg_dist.data.batches import MicroBatch
from mlseg_dist.events import Events
from mlseg_dist.inference import level_ratio, teacher_weights
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.model import Network, build_model
from mlseg_dist.training import memory
from mlseg_dist.training.engine import join_world, make_engine
from mlseg_dist.training.health import Busy, Pulse, Stragglers, Watch
from mlseg_dist.training.inputs import open_inputs
from mlseg_dist.training.log import TrainingLog
from mlseg_dist.training.profiling import StepProfiler
from mlseg_dist.training.sharing import shared_by
from mlseg_dist.training.state.average import Average
from mlseg_dist.training.state.batchnorm import RunningStatistics
from mlseg_dist.training.state.exclusions import Exclusions
from mlseg_dist.training.state.skips import Skips
from mlseg_dist.training.state.teacher import BestTeacher
from mlseg_dist.training.state.training_state import TrainingState, made_of
from mlseg_dist.training.validate import Scores, validate
from mlseg_dist.training.validation_pairs import ValidationPairs
from mlseg_dist.training.window import Window, peak_flops, training_flops

GiveUp = Callable[[str], NoReturn]
"""Called from a thread with a sentence that says which rank stands still; ends the process."""


def end_process(why: str) -> NoReturn:
    """Status 1, at once: the main thread waits for a rank that does not answer."""
    os._exit(1)


@dataclass(frozen=True)
class Due:
    """What follows on a step: a line of metrics.jsonl, a validation, a checkpoint."""

    log: bool
    validation: bool
    checkpoint: bool

    @property
    def any(self) -> bool:
        return self.log or self.validation or self.checkpoint


class Session:
    """All that training needs beside the loop itself; the same calls on every rank. total: optimizer steps of the phase."""

    def __init__(self, config: LearningConfig, step_index: int, run: Path, phase: Path, give_up: GiveUp) -> None:
        self.config, self.row, self.phase = config, config.steps[step_index], phase
        settings = shared_by(config.train, config.loss, int(os.environ.get("WORLD_SIZE", "1")))
        self.settings, self._each = settings, settings.micro_batches_per_step
        self.events = Events(phase)
        self.world = join_world(settings)
        inputs = open_inputs(config, step_index, run, self.world)
        self.corpus, self._order, self._batches, self.total = inputs.corpus, inputs.order, inputs.batches, inputs.steps
        self._validation = ValidationPairs(self.corpus, settings, self.world)

        self.model = self._network(step_index, run)
        self.loss = SegmentationLoss(config.loss, self.row.weights).to(self.world.device)
        if settings.fit_micro_batch:
            memory.check_fits(self.model, self.loss, settings, self.world)
        self.engine = make_engine(self.model, settings, self.world)
        self.statistics = RunningStatistics(self.model)
        self.average = Average(self.model, settings.ema)
        self.exclusions = Exclusions(self._batches, sum(self._order.pools.sizes), settings, self.world)
        self.skips = Skips(settings.max_skipped)
        first = self.world.rank == 0  # it alone writes checkpoints and metrics
        self._made_of = made_of(config, step_index, run) if first else {}
        best = BestTeacher(phase, "ema" if settings.ema else "model")
        excluded = self.exclusions, self._validation.exclusions
        changing = (self.engine, self.statistics, self.average, *excluded, self.skips, best)
        self.state = TrainingState(phase, self.events, self.world, *changing)

        self.pulse = Pulse()
        self.busy = Busy(self.world.device)
        self._watch = Watch(self.pulse, self.world, settings.health, phase, self.events.log, give_up)
        self._stragglers = Stragglers(settings.health.straggler)
        self._hosts = self.world.from_all(self._watch.host)
        flops = training_flops(self.row.model, level_ratio(run), settings.patch_px) if first else 0.0
        peak = peak_flops(self.world.device, settings.precision, settings.peak_tflops)
        self._window = Window(self.world, flops, peak)
        self._profiler = StepProfiler(settings.profile, phase, self.world)
        self._stream: Iterator[MicroBatch] | None = None
        self._log: TrainingLog | None = None
        self._progress: Progress | None = None

    def _network(self, step_index: int, run: Path) -> Network:
        seed = integer_seed(self.config.seed, self.row.seed_name)
        model = build_model(self.row.model, level_ratio(run), self.settings.bn_momentum, seed)
        before = self.config.step_before(step_index)
        if self.row.start == "teacher" and before is not None:
            model.load_state_dict(teacher_weights(self.config, before, run))
        if self.settings.compile:
            model.compile()
        return model.to(self.world.device)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watch.end()
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]
        self._profiler.close()
        self.state.close()
        if self._log:
            self._log.close()
        if error is not None and memory.is_out_of_memory(error):
            raise memory.advice(self.model, self.loss, self.settings, self.world) from error

    # ---- from step to step -------------------------------------------------------------------------------------

    def resume(self) -> int:
        """Continue from the newest checkpoint that verifies. Returns the optimizer steps done; before the first: 0, and saved."""
        found = self.state.open(self.settings.keep_checkpoints, self.settings.keep_every)
        step = found or 0
        if self.world.rank == 0:
            self._log = TrainingLog(self.config, self.phase, step, self.total)
            self._log.order(self._order, self.total * self._each)
            tally = self.phase / "progress" / "0.json"
            self._progress = Progress(self.row.name, self.total, "steps", tally, done=step, prints=False)
        self._begin_at(step)
        if found is None:
            if self.row.keep_better:
                self.validate(0)
            self.save(0)
        return step

    def _begin_at(self, step: int) -> None:
        """The micro-batches of optimizer step `step` are the next."""
        if self._stream is not None:
            self._stream.close()  # type: ignore[attr-defined]
        mine = range(self.world.rank, self._each, self.world.size)
        attempts = (self.skips.attempt(s) for s in range(step, self.total))
        self._stream = self._batches.stream(attempt * self._each + m for attempt in attempts for m in mine)
        self._window.restart(step)
        self.model.train()

    def micro_batches(self, step: int) -> Iterator[MicroBatch]:
        """This rank's, of one optimizer step."""
        assert self._stream is not None
        for _ in range(self.engine.accumulation):
            self.pulse.at("read", step)
            batch = next(self._stream)
            self.busy.add(batch.wait_s)
            yield batch

    def add(
        self,
        loss: torch.Tensor,
        parts: dict[str, torch.Tensor],
        logits: dict[str, torch.Tensor],
        targets: dict[str, torch.Tensor],
        batch: MicroBatch,
    ) -> None:
        """Remember a micro-batch's figures, and what could not be read of it."""
        self._window.add(loss, parts, logits, targets, batch.wait_s)
        self.exclusions.add(batch)

    def end_step(self, step: int, damaged: bool) -> None:
        """step: optimizer steps done. damaged: some rank could not read a pair; from the next step on no rank draws it."""
        self._watch.begin()
        self._profiler.step()
        new = self.exclusions.settle() if damaged else []
        if new and self._log:
            self._log.excluded(step, new)
            text = f"{len(new)} pairs cannot be read and are drawn no more: {new[0]['why']}"
            self.events.log("excluded", text, step=step, pairs=len(new))

    def due(self, step: int, stopped: bool) -> Due:
        """After `step` steps. Validations are spread evenly; the last step is followed by everything."""
        settings, last = self.settings, step == self.total
        validations = {math.ceil(self.total * (i + 1) / settings.validations) for i in range(settings.validations)}
        validation = step in validations
        return Due(
            log=step % settings.log_every == 0 or last,
            validation=validation,
            checkpoint=validation or stopped or last or step % settings.checkpoint_every == 0,
        )

    # ---- what is due -------------------------------------------------------------------------------------------

    def go_back(self) -> int | None:
        """Check whether steps were skipped. Returns the step that training goes back to after too many in a row, else None.

        Raises RuntimeError when it went back often enough, or cannot.
        """
        skipped = self.skips.look()
        if skipped and self.world.rank == 0:
            text = f"loss or gradient is not finite: skipped on all ranks ({self.skips.total} so far)"
            self.events.log("non-finite", f"{steps(skipped)}: {text}", steps=skipped)
        if not self.skips.too_many:
            return None
        which = f"{steps(self.skips.in_a_row)} in a row were not finite"
        advice = "Lower the step's lr or raise train.warmup_steps; look at the draws of those steps."
        if self.skips.rollbacks >= self.settings.max_rollbacks:
            again = f", after going back {self.skips.rollbacks} times" if self.skips.rollbacks else ""
            raise RuntimeError(f"{self.row.name}: {which}{again}: training diverges. {advice}")
        first = self.skips.go_back()
        self._wait_for_first("resume", first)
        step = self.state.go_back(at_most=first)
        if step is None:
            raise RuntimeError(f"{self.row.name}: {which}, and no checkpoint from before them is left. {advice}")
        if self._log and self._progress:
            left_out = self.skips.left_out
            text = f"{which}: back to step {step}, leaving out the draws of {len(left_out)} steps"
            self.events.log("rolled-back", text, level="error", step=step, left_out=left_out)
            self._log.rewind(step)
            self._progress.advance(step - self._progress.tally.done)
        self._begin_at(step)
        self.save(step)
        return step

    def log(self, step: int, lr: float) -> None:
        """A line of metrics.jsonl on the steps since the one before; a rank far slower than the others is named."""
        self.pulse.at("reduce", step)
        figures, busy = self._window.close(step, lr, self.busy.take())
        self.pulse.at("log", step)
        if self._log and self._progress:
            figures["epoch"] = round(step / self.total * self.row.epochs, 4)
            figures["skipped"] = self.skips.total
            figures["gradient_norm"] = self.engine.gradient_norm
            self._log.train(figures)
            loss = figures["loss"]
            note = "loss not finite" if loss is None else f"loss {loss:.3f}"
            self._progress.advance(step - self._progress.tally.done, note)
            for pace in self._stragglers.judge_lines(step, busy, self._hosts):
                event = "straggler" if pace.slow else "straggler-recovered"
                self.events.log(
                    event, pace.text, "warning" if pace.slow else "info", step=step, rank=pace.rank, node=pace.host
                )

    def validate(self, step: int) -> None:
        """Score the validation split with the weights that would become the teacher."""
        begun = time.perf_counter()
        with self.average.in_place():
            at = partial(self.pulse.at, step=step)
            scores = validate(self.model, self._validation, self.config, self.world, at)
            at("log")
            if scores.can_be_best:
                self.state.best.offer(step, scores.figures, scores.operating_point)
            if self._log:
                self._tell_of(step, scores)
                figures = scores.figures | ({"not_finite": scores.not_finite} if scores.not_finite else {})
                self._log.validation(step, figures, self.model, self.corpus, self._validation.once.refs)
        self._window.leave_out(time.perf_counter() - begun)

    def _tell_of(self, step: int, scores: Scores) -> None:
        """What went wrong in a validation."""
        new, missing = scores.excluded, scores.not_finite
        if new and self._log:
            self._log.excluded(step, new)
            text = f"{len(new)} validation pairs cannot be read and are not scored: {new[0]['why']}"
            self.events.log("excluded", text, step=step, pairs=len(new), split="val")
        if missing:
            share = missing / (missing + scores.pixels)
            best = "" if scores.can_be_best else "; these weights cannot become the teacher"
            text = f"no finite answer for {missing} pixels ({share:.2%}), which are not scored{best}"
            self.events.log("validation-not-finite", text, step=step, pixels=missing, share=share)

    def save(self, step: int) -> None:
        """A checkpoint; written beside the next steps."""
        self.pulse.at("save", step)
        self.state.save(step, self._made_of)

    def _wait_for_first(self, stage: str, step: int) -> None:
        """Rank 0 is in a stage of its own, and the others wait for it."""
        self.pulse.at(stage if self.world.rank == 0 else "reduce", step)

    def publish(self) -> None:
        """The phase has a teacher."""
        self._wait_for_first("save", self.total)
        # To wait for a full disk is no standstill: its cause is known, and no node is to blame.
        self.state.publish(partial(self._wait_for_first, "save", self.total))
        best = self.state.best.record
        if self._progress and best:
            text = f"teacher of {self.row.name}: step {best['step']} of {self.total}, mIoU {best['miou']:.4f}"
            self.events.log("teacher", text, "info", **best)
            if best["step"] == 0:
                text = f"no weights of {self.row.name} score better on validation than those it started from: they stay"
                self.events.log("kept-teacher", text, miou=best["miou"])
        if self._progress:
            self._progress.finish()
        self.pulse.at("reduce", self.total)
        self.world.wait_for_all()


def steps(numbers: list[int]) -> str:
    """`step 7`, `steps 7-11`, `steps 7, 9, 10`, for people who count steps from 1."""
    shown = [n + 1 for n in numbers]
    if len(shown) == 1:
        return f"step {shown[0]}"
    if shown[-1] - shown[0] + 1 == len(shown):
        return f"steps {shown[0]}-{shown[-1]}"
    return f"steps {', '.join(str(n) for n in shown)}"
