"""Train one step of Table 8 on all ranks of a job; stop at any step boundary and continue bitwise on the same world.

In: the corpus, the round of labels made by the step before (none for the base). Out, in the phase's folder: metrics.jsonl,
events.jsonl, checkpoints/, and teacher.json, which names the weights with the best validation mIoU and
says at which threshold they do best.
"""

from collections.abc import Callable
from pathlib import Path

import torch

from mlseg_core.errors import Interrupted
from mlseg_core.randomness import integer_seed
from mlseg_dist.config import LearningConfig
from mlseg_dist.data.batches import MicroBatch
from mlseg_dist.inference import normalise
from mlseg_dist.loss import SegmentationLoss
from mlseg_dist.training.engine import Engine, World
from mlseg_dist.training.session import GiveUp, Session, end_process


def train(
    config: LearningConfig,
    step_index: int,
    run: Path,
    phase: Path,
    stop: Callable[[], bool],
    give_up: GiveUp = end_process,
) -> None:
    """Called on every rank (see engine.join_world). give_up: ends this process when a rank stands still; does not return.

    Raises Interrupted, checkpoint saved, once any rank's stop() says so; UserError.
    """
    row, settings = config.steps[step_index], config.train
    with Session(config, step_index, run, phase, give_up) as session:
        engine, statistics, skips, world = session.engine, session.statistics, session.skips, session.world
        step = session.resume()
        while step < session.total:
            lr = learning_rate(step, session.total, row.lr, settings.cycles, settings.warmup_steps)
            for batch in session.micro_batches(step):
                session.pulse.at("forward", step)
                with session.busy:
                    torch.manual_seed(integer_seed(config.seed, row.seed_name, "drop-connect", batch.number))
                    loss, parts, logits, targets = forward(engine, session.loss, batch, settings.precision, world)
                    statistics.keep()
                session.pulse.at("reduce" if engine.at_last else "backward", step)
                engine.backward(loss)
                engine.step(lr)
                session.add(loss, parts, logits, targets, batch)
            statistics.advance(engine.finite)
            session.average.update(engine.finite)
            skips.add(step, engine.finite)
            step += 1
            stopped, damaged = world.agree((stop(), session.exclusions.waiting))
            session.end_step(step, damaged)
            due = session.due(step, stopped)
            if due.any and (back := session.go_back()) is not None:
                step = back
                continue
            if due.log:
                session.log(step, lr)
            if due.validation:
                session.validate(step)
            if due.checkpoint:
                session.save(step)
            if stopped and step < session.total:
                raise Interrupted(f"{row.name}: stopped at step {step} of {session.total}, {session.state.settled()}")
        session.publish()


def forward(
    engine: Engine, loss_of: SegmentationLoss, batch: MicroBatch, precision: str, world: World
) -> tuple[torch.Tensor, dict[str, torch.Tensor], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Loss of one micro-batch, its parts, logits per head and targets per view."""
    views = {name: getattr(batch, name).to(world.device, non_blocking=True) for name in ("high", "low")}
    targets = {name: getattr(batch, f"{name}_label").to(world.device, non_blocking=True) for name in ("high", "low")}
    with torch.autocast(world.device.type, torch.bfloat16, enabled=precision == "bf16"):
        logits = engine.forward(normalise(views["high"]), normalise(views["low"]))
    loss, parts = loss_of(logits, targets)
    return loss, parts, logits, targets


STAIRS = 5  # plateaus of a cycle
LOWEST = 0.1  # last plateau of a cycle, as a part of its first


def learning_rate(step: int, total: int, lr0: float, cycles: int, warmup: int) -> float:
    """Rate of optimizer step `step` of `total`: cycle c starts at lr0 / 2^c and descends in stairs; linear warm-up first."""
    cycle, within = divmod(step * cycles / total, 1.0)
    stair = min(int(within * STAIRS), STAIRS - 1) / (STAIRS - 1)
    rate = lr0 * 0.5 ** min(int(cycle), cycles - 1) * (1 - (1 - LOWEST) * stair)
    return rate * min(1.0, (step + 1) / (warmup + 1))
