"""Train one step of Table 8 on all ranks of a job; stop at any step boundary and continue bitwise on the same world.

In: the corpus, the round of labels made by the step before (none for the base). Out, in the phase's folder:
metrics.jsonl, checkpoints/, and teacher.json, which names the weights with the best validation mIoU.
"""

import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist

from mlseg_core.errors import Interrupted
from mlseg_core.progress import Progress
from mlseg_core.randomness import integer_seed
from mlseg_dist.config import LearningConfig
from mlseg_dist.data.batches import MicroBatch
from mlseg_dist.data.order import check_world
from mlseg_dist.inference import level_ratio, normalise, teacher_weights
from mlseg_dist.loss import SegmentationLoss, check_group
from mlseg_dist.model import build_model
from mlseg_dist.training import checkpoint
from mlseg_dist.training.batchnorm import RunningStatistics
from mlseg_dist.training.engine import Engine, World, join_world, make_engine
from mlseg_dist.training.exclusions import Exclusions
from mlseg_dist.training.inputs import open_inputs
from mlseg_dist.training.journal import Journal
from mlseg_dist.training.schedule import learning_rate
from mlseg_dist.training.teacher import BestTeacher
from mlseg_dist.training.validate import validate, validation_refs
from mlseg_dist.training.window import Window


def train(config: LearningConfig, step_index: int, run: Path, phase: Path, stop: Callable[[], bool]) -> None:
    """Called on every rank (see engine.join_world). Raises Interrupted, checkpoint saved, once any rank's stop() says so."""
    step_config, settings = config.steps[step_index], config.train
    ranks = int(os.environ.get("WORLD_SIZE", "1"))
    check_world(settings.micro_batches_per_step, ranks)
    check_group(config.loss, settings.micro_batches_per_step, ranks)
    world = join_world(settings)
    inputs = open_inputs(config, step_index, run, world)
    corpus, order, batches, total = inputs.corpus, inputs.order, inputs.batches, inputs.steps
    each, mine = settings.micro_batches_per_step, range(world.rank, settings.micro_batches_per_step, world.size)
    exclusions = Exclusions(batches, settings, world)
    val_refs = validation_refs(corpus, settings.max_validation_samples)

    model = build_model(
        step_config.model, level_ratio(run), settings.bn_momentum, integer_seed(config.seed, step_config.name)
    )
    if step_config.start == "teacher" and step_index > 0:
        model.load_state_dict(teacher_weights(config, step_index - 1, run))
    if settings.compile:
        model.compile()
    engine = make_engine(model.to(world.device), settings, world)
    criterion = SegmentationLoss(config.loss, step_config.weights).to(world.device)
    statistics = RunningStatistics(model)
    best = BestTeacher(phase)
    first = 0
    resumed = checkpoint.load_newest(phase / "checkpoints")
    if resumed:
        state, cursor = resumed
        engine.load(state)
        statistics.reload()
        best.load(cursor["best"])
        exclusions.load(cursor["excluded"])
        first = cursor["step"]
    journal = Journal(config, phase, first) if world.rank == 0 else None
    if journal:
        journal.order(order, total * each)
    progress = (
        Progress(step_config.name, total, "steps", phase / "progress" / "0.json", done=first) if journal else None
    )

    def save(done: int) -> None:
        if world.rank == 0:
            cursor = {"step": done, "world": world.size, "best": best.record, "excluded": exclusions.pairs}
            checkpoint.save(phase / "checkpoints", done, engine.state(), cursor, settings.keep_checkpoints)

    stream = batches.stream(step * each + m for step in range(first, total) for m in mine)
    validate_at = {math.ceil(total * (i + 1) / settings.validations) for i in range(settings.validations)}
    window = Window(world)
    model.train()
    for step in range(first, total):
        lr = learning_rate(step, total, step_config.lr, settings.cycles, settings.warmup_steps)
        for _ in mine:
            batch = next(stream)
            statistics.begin()
            torch.manual_seed(integer_seed(config.seed, step_config.name, "drop-connect", step, batch.number))
            loss, parts, logits, targets = forward(engine, criterion, batch, settings.precision, world)
            statistics.keep()
            engine.backward(loss)
            engine.step(lr)
            window.add(loss, parts, logits, targets, batch.wait_s)
            exclusions.add(batch)
        statistics.advance()
        done = step + 1
        stopped, damaged = agree((stop(), exclusions.waiting), world)
        if damaged:
            new = exclusions.settle()
            if journal:
                journal.excluded(done, new)
        saves = done in validate_at or done % settings.checkpoint_every == 0 or stopped or done == total
        # A look at the norm waits for the device; once infinite or NaN the gradient stays so, and nothing is saved unseen.
        if (saves or window.full) and not math.isfinite(engine.gradient_norm):
            raise RuntimeError(f"{step_config.name}: the gradient is not finite at step {step} (loss {loss.item()})")
        if window.full or done == total or done in validate_at:
            figures = window.close(done, done / total * step_config.epochs, lr)
            if journal and progress:
                journal.train(figures)
                progress.advance(done - progress.tally.done, f"loss {figures['loss']:.3f}")
        if done in validate_at:
            scores = validate(model, corpus, val_refs, config, world)
            best.offer(done, scores, model, world)
            if journal:
                journal.validation(done, scores, model, corpus, val_refs)
            window.restart_clock()
        if saves:
            save(done)
            best.drop_older(world)
        if stopped and done < total:
            if journal:
                journal.close()
            raise Interrupted(f"{step_config.name}: stopped at step {done} of {total}, checkpoint saved")
    if journal and progress:
        progress.finish()
        journal.close()
        best.publish()
    dist.barrier()


def forward(
    engine: Engine, criterion: SegmentationLoss, batch: MicroBatch, precision: str, world: World
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Loss of one micro-batch, its parts, logits per head and targets per view."""
    views = {name: getattr(batch, name).to(world.device, non_blocking=True) for name in ("high", "low")}
    targets = {name: getattr(batch, f"{name}_label").to(world.device, non_blocking=True) for name in ("high", "low")}
    with torch.autocast(world.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = engine.forward(normalise(views["high"]), normalise(views["low"]))
    loss, parts = criterion(logits, targets)
    return loss, parts, logits, targets


def agree(flags: Sequence[bool], world: World) -> list[bool]:
    """Each flag is true on every rank when it is true on any."""
    if world.size == 1:
        return list(flags)
    told = torch.tensor([int(flag) for flag in flags], device=world.device)
    dist.all_reduce(told, dist.ReduceOp.MAX)
    return [bool(flag) for flag in told.tolist()]
